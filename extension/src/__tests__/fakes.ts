import {
  IEvidencePoint,
  IMlflow,
  IPaper,
  IPaperRow,
  IProvenanceRequest,
  IProvenanceTest,
  IRun,
  IRunDetail,
  IRunRequest,
  IStemmaApi
} from '../api';

/** A paper of the list. */
export function paperRow(changes: Partial<IPaperRow> = {}): IPaperRow {
  return {
    slug: 'palimpsest',
    number: 30,
    title: 'Blackbox Model Provenance',
    year: 2025,
    arxiv: '2510.19796',
    tags: ['language-models'],
    summary: 'Who trained this model?',
    status: 'ready',
    results: [],
    ...changes
  };
}

/** A paper with everything that is known of it. */
export function paper(changes: Partial<IPaper> = {}): IPaper {
  return {
    ...paperRow(),
    version: 1,
    code: null,
    parameters: [],
    claims: [],
    untested: { smoke: {}, small: {}, gpu: {}, paper: {} },
    deviations: [],
    defects: [],
    timeout: { smoke: 60, small: 600, gpu: 600, paper: 3600 },
    latest: [],
    ...changes
  };
}

/** A run of a batch. */
export function run(changes: Partial<IRun> = {}): IRun {
  return {
    id: 'b1/palimpsest-0123456789abcdef',
    batch: 'b1',
    batch_name: '',
    slug: 'palimpsest',
    scale: 'smoke',
    label: 'palimpsest',
    state: 'running',
    failure: null,
    message: '',
    created: 1_790_000_000,
    started: 1_790_000_001,
    ended: null,
    attempts: 1,
    cached: false,
    progress: null,
    ...changes
  };
}

/** A test of descent. */
export function provenanceTest(
  changes: Partial<IProvenanceTest> = {}
): IProvenanceTest {
  return {
    id: 't1',
    request: {
      test: 'query',
      transcript: 'runs/transcript',
      suspect: 'runs/suspect',
      reference: null,
      tokenizer: null,
      model_name: null,
      budget: null,
      stop: null,
      seed: 0
    },
    state: 'running',
    message: '',
    started: 1_790_000_000,
    ended: null,
    curve: [] as IEvidencePoint[],
    p_value: null,
    verdict: null,
    caveats: [],
    evidence: null,
    ...changes
  };
}

/** An API whose answers a test sets; what it is asked for is kept. */
export class FakeApi implements IStemmaApi {
  paperRows: IPaperRow[] = [paperRow()];
  pages: Record<string, IPaper> = {};
  allRuns: IRun[] = [];
  allTests: IProvenanceTest[] = [];
  errors: Record<string, string> = {};
  server: IMlflow = { url: null, own: false, message: 'not started' };
  readonly asked: string[] = [];
  readonly started: IRunRequest[] = [];

  papers = this.answer('papers', () => this.paperRows);
  paper = this.answer('paper', (slug: string) => this.pages[slug]);
  check = this.answer('check', (_: IRunRequest) => ({ errors: this.errors }));
  start = this.answer('start', (request: IRunRequest) => {
    this.started.push(request);
    const { slug, scale } = request;
    const queued = run({ slug, scale, state: 'queued', id: `b/${slug}` });
    this.allRuns = [queued, ...this.allRuns];
    return queued;
  });
  draft = this.answer(
    'draft',
    (request: IRunRequest) => `runs/drafts/${request.slug}.ipynb`
  );
  runs = this.answer('runs', (limit: number) => this.allRuns.slice(0, limit));
  run = this.answer('run', (id: string): IRunDetail => ({
    ...run({ id }),
    parameters: {},
    result: null
  }));
  cancel = this.answer('cancel', (_: string): void => undefined);
  retry = this.answer('retry', (_: string): void => undefined);
  log = this.answer('log', (_: string, offset: number) => ({
    text: '',
    offset,
    over: true
  }));
  picture = this.answer('picture', (_: string) => new Blob(['']));
  mlflow = this.answer('mlflow', (_: boolean) => this.server);
  tests = this.answer('tests', () => this.allTests);
  test = this.answer('test', (id: string) =>
    this.allTests.find(test => test.id === id)!
  );
  startTest = this.answer('startTest', (request: IProvenanceRequest) =>
    provenanceTest({ request, id: 'started' })
  );
  cancelTest = this.answer('cancelTest', (_: string): void => undefined);
  transcripts = this.answer('transcripts', () => ['runs/transcript']);

  /** The next call of this name fails with this message. */
  fail(name: string, message: string): void {
    this._failures.set(name, message);
  }

  private answer<A extends unknown[], R>(
    name: string,
    give: (...given: A) => R
  ): (...given: A) => Promise<R> {
    return async (...given: A) => {
      this.asked.push(name);
      const failure = this._failures.get(name);
      if (failure !== undefined) {
        this._failures.delete(name);
        throw new Error(failure);
      }
      return give(...given);
    };
  }

  private readonly _failures = new Map<string, string>();
}
