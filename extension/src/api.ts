/**
 * What the server part of Stemma tells the lab, and the calls that ask for it.
 *
 * The types mirror `stemma_lab/schemas.py`; times are seconds since the epoch.
 */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** The name under which the server part answers, below Jupyter's base URL. */
export const NAMESPACE = 'stemma';

/** The schema of the events that the server part emits on Jupyter's event bus. */
export const EVENT_SCHEMA = 'urn:stemma:activity:v1';

export type Scale = 'smoke' | 'small' | 'gpu' | 'paper';
export const SCALES: readonly Scale[] = ['smoke', 'small', 'gpu', 'paper'];

export type Verdict =
  'reproduced' | 'trend holds' | 'contradicted' | 'inconclusive' | 'not tested';

export type RunStateName =
  | 'queued'
  | 'starting'
  | 'running'
  | 'succeeded'
  | 'failed'
  | 'timed out'
  | 'cancelled'
  | 'lost';

export type Value = boolean | number | string | number[] | string[];

/** How many claims of a result have each verdict; at smoke none is drawn. */
export interface IScaleResult {
  scale: Scale;
  verdicts: Partial<Record<Verdict, number>>;
  /** `run here` or `committed reference`. */
  origin: string;
}

/** A paper as the list shows it. */
export interface IPaperRow {
  slug: string;
  number: number;
  title: string;
  year: number;
  arxiv: string;
  tags: string[];
  summary: string;
  status: 'planned' | 'ready';
  results: IScaleResult[];
}

export interface IParameter {
  name: string;
  type:
    | 'bool'
    | 'int'
    | 'float'
    | 'str'
    | 'list[int]'
    | 'list[float]'
    | 'list[str]';
  /** The default at each scale. */
  defaults: Record<Scale, Value>;
  help: string;
  unit: string | null;
  minimum: number | null;
  maximum: number | null;
  choices: (boolean | number | string)[] | null;
}

/** One cell of a claim drawn: horizontal positions in a drawing of `WIDTH` by `HEIGHT`. */
export interface IBar {
  estimate: number;
  low: number | null;
  high: number | null;
  marks: number[];
  claimed: [number, number];
  open_low: boolean;
  open_high: boolean;
  /** The same in words. */
  text: string;
}

export interface ICell {
  cell: string;
  /** Estimate and interval in words. */
  text: string;
  how: string;
  verdict: Verdict;
  bar: IBar | null;
}

export interface IClaim {
  id: string;
  statement: string;
  paper_value: string;
  unit: string;
  where: string;
  statistic: string;
  /** Null until a run has judged the claim. */
  verdict: Verdict | null;
  reason: string;
  cells: ICell[];
}

export interface INote {
  id: string;
  text: string;
}

export interface IFigure {
  name: string;
  caption: string;
  /** End point of the picture; null if only the caption was kept. */
  url: string | null;
}

/** A result with its claims, as the page of a paper shows it. */
export interface IResult {
  scale: Scale;
  /** In words: origin, date, commit, device, minutes. */
  source: string;
  parameters: Record<string, Value>;
  claims: IClaim[];
  figures: IFigure[];
  /** Path of the executed notebook for the file browser; null if it cannot be opened here. */
  notebook: string | null;
  /** The run in MLflow: what follows the server's address; null if it is not tracked. */
  mlflow: string | null;
}

export interface IPaper extends IPaperRow {
  version: number;
  /** Address of the authors' code at the commit that was read; null if there is none. */
  code: string | null;
  parameters: IParameter[];
  /** The claims without results. */
  claims: IClaim[];
  /** Claims that a scale cannot test, and why. */
  untested: Record<Scale, Record<string, string>>;
  deviations: INote[];
  defects: INote[];
  /** Deadline of the notebook at each scale, seconds. */
  timeout: Record<Scale, number>;
  /** The latest result at each scale, if there is one. */
  latest: IResult[];
}

/** How far a running notebook is. */
export interface IProgress {
  /** The code cell that runs, from 1; 0 before the first. */
  cell: number;
  cells: number;
  heading: string;
  /** Progress within the cell; `total` 0 if the cell reports none. */
  done: number;
  total: number;
}

/** A run of a batch. */
export interface IRun {
  /** `<batch>/<name>`: names the run in calls and events. */
  id: string;
  batch: string;
  batch_name: string;
  slug: string;
  scale: Scale;
  label: string;
  state: RunStateName;
  failure: string | null;
  message: string;
  created: number;
  started: number | null;
  ended: number | null;
  attempts: number;
  cached: boolean;
  progress: IProgress | null;
}

export interface IRunDetail extends IRun {
  parameters: Record<string, Value>;
  result: IResult | null;
}

export interface ILog {
  text: string;
  /** Where the next call goes on, bytes. */
  offset: number;
  over: boolean;
}

/** What a form wants to know before a run is started. */
export interface ICheck {
  /** What is wrong, by the parameter's name; `scale` and `slug` if these cannot be run here. */
  errors: Record<string, string>;
}

export interface IRunRequest {
  slug: string;
  scale: Scale;
  parameters: Record<string, Value>;
  /** Run again even if there is a completed run of the same key. */
  force?: boolean;
}

/** Where the runs of this server are tracked. */
export interface IMlflow {
  /** Address of the MLflow server, without a slash at its end; null while there is none. */
  url: string | null;
  /** Whether the lab started it; no other server is shown within the lab. */
  own: boolean;
  /** Why it cannot be opened, or what is going on. */
  message: string;
}

export type ProvenanceTest = 'query' | 'partition';

export interface IProvenanceRequest {
  test: ProvenanceTest;
  /** Folder of the transcript, below the runs or the notebooks. */
  transcript: string;
  /** Query: folder, hub id or address of the suspect. Partition: a text file. */
  suspect: string;
  reference: string | null;
  tokenizer: string | null;
  /** Name by which an end point knows its model. */
  model_name: string | null;
  /** The most examples to ask; null for all. */
  budget: number | null;
  /** Query: stop at this anytime-valid p-value; null to ask the whole budget. */
  stop: number | null;
  seed: number;
}

export interface IEvidencePoint {
  /** Examples asked so far. */
  examples: number;
  p_value: number;
}

export interface IProvenanceTest {
  id: string;
  request: IProvenanceRequest;
  state: 'running' | 'succeeded' | 'failed' | 'cancelled' | 'lost';
  message: string;
  started: number;
  ended: number | null;
  /**
   * The p-value so far; in the list of tests empty for those that are over. Without `stop` only the
   * last point is a result.
   */
  curve: IEvidencePoint[];
  p_value: number | null;
  /** What the test found, in plain words. */
  verdict: string | null;
  /** What no such test proves; stands beside every verdict. */
  caveats: string[];
  /** Path of the saved evidence for the file browser; null if there is none. */
  evidence: string | null;
}

/**
 * What happens while runs go on. Events are hints: after a reconnection the state is read anew.
 */
export type Activity =
  { kind: 'run'; run: IRun } | { kind: 'provenance'; test: IProvenanceTest };

/** The calls, so that the model can be tested without a server. */
export interface IStemmaApi {
  papers(): Promise<IPaperRow[]>;
  paper(slug: string): Promise<IPaper>;
  check(request: IRunRequest): Promise<ICheck>;
  start(request: IRunRequest): Promise<IRun>;
  draft(request: IRunRequest): Promise<string>;
  runs(limit: number): Promise<IRun[]>;
  run(id: string): Promise<IRunDetail>;
  cancel(id: string): Promise<void>;
  retry(id: string): Promise<void>;
  log(id: string, offset: number): Promise<ILog>;
  picture(url: string): Promise<Blob>;
  mlflow(start: boolean): Promise<IMlflow>;
  tests(): Promise<IProvenanceTest[]>;
  test(id: string): Promise<IProvenanceTest>;
  startTest(request: IProvenanceRequest): Promise<IProvenanceTest>;
  cancelTest(id: string): Promise<void>;
  /** Paths of the transcripts that may be chosen. */
  transcripts(): Promise<string[]>;
}

/** The calls over Jupyter's own connection: token and XSRF header are added there. */
export class StemmaApi implements IStemmaApi {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  async papers(): Promise<IPaperRow[]> {
    return (await this.get<{ papers: IPaperRow[] }>('papers')).papers;
  }

  paper(slug: string): Promise<IPaper> {
    return this.get(`papers/${encodeURIComponent(slug)}`);
  }

  check({ slug, ...body }: IRunRequest): Promise<ICheck> {
    return this.post(`papers/${encodeURIComponent(slug)}/check`, body);
  }

  start(request: IRunRequest): Promise<IRun> {
    return this.post('runs', request);
  }

  async draft({ slug, ...body }: IRunRequest): Promise<string> {
    const end = `papers/${encodeURIComponent(slug)}/notebook`;
    return (await this.post<{ path: string }>(end, body)).path;
  }

  async runs(limit: number): Promise<IRun[]> {
    return (await this.get<{ runs: IRun[] }>(`runs?limit=${limit}`)).runs;
  }

  run(id: string): Promise<IRunDetail> {
    return this.get(`runs/${escapeId(id)}`);
  }

  cancel(id: string): Promise<void> {
    return this.post(`runs/${escapeId(id)}/cancel`);
  }

  retry(id: string): Promise<void> {
    return this.post(`runs/${escapeId(id)}/retry`);
  }

  log(id: string, offset: number): Promise<ILog> {
    return this.get(`runs/${escapeId(id)}/log?offset=${offset}`);
  }

  async picture(url: string): Promise<Blob> {
    return (await this.request(url)).blob();
  }

  mlflow(start: boolean): Promise<IMlflow> {
    return start ? this.post('mlflow') : this.get('mlflow');
  }

  async tests(): Promise<IProvenanceTest[]> {
    return (await this.get<{ tests: IProvenanceTest[] }>('provenance')).tests;
  }

  test(id: string): Promise<IProvenanceTest> {
    return this.get(`provenance/${encodeURIComponent(id)}`);
  }

  startTest(request: IProvenanceRequest): Promise<IProvenanceTest> {
    return this.post('provenance', request);
  }

  cancelTest(id: string): Promise<void> {
    return this.post(`provenance/${encodeURIComponent(id)}/cancel`);
  }

  async transcripts(): Promise<string[]> {
    const end = 'provenance/transcripts';
    return (await this.get<{ transcripts: string[] }>(end)).transcripts;
  }

  private async get<T>(endPoint: string): Promise<T> {
    return (await this.request(endPoint)).json();
  }

  private async post<T>(endPoint: string, body: unknown = {}): Promise<T> {
    const init = { method: 'POST', body: JSON.stringify(body) };
    return (await this.request(endPoint, init)).json();
  }

  private async request(
    endPoint: string,
    init: RequestInit = {}
  ): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, NAMESPACE, endPoint);
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch (error) {
      throw new ServerConnection.NetworkError(error as TypeError);
    }
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return response;
  }
}

/** The two parts of a run's id are path segments. */
function escapeId(id: string): string {
  return id.split('/').map(encodeURIComponent).join('/');
}
