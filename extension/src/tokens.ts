import { Token } from '@lumino/coreutils';
import { ISignal } from '@lumino/signaling';

import {
  IPaperRow,
  IProvenanceRequest,
  IProvenanceTest,
  IRun,
  IRunRequest,
  IStemmaApi
} from './api';

/** What the lab knows of papers, runs and tests; every panel shows it, none keeps its own. */
export interface IStemma {
  readonly api: IStemmaApi;

  /** All papers, by their number; empty until the first refresh. */
  readonly papers: readonly IPaperRow[];
  /** The latest runs, newest first. */
  readonly runs: readonly IRun[];
  /** The tests of descent, newest first. */
  readonly tests: readonly IProvenanceTest[];
  /** The runs that are not over. */
  readonly active: readonly IRun[];
  /** Whether the first refresh has ended, well or badly. */
  readonly isReady: boolean;
  /** Why the last refresh failed; empty if it did not. */
  readonly problem: string;

  /** The list of papers, or a verdict in it, changed. */
  readonly papersChanged: ISignal<IStemma, void>;
  /** A run appeared, or changed its state or progress. */
  readonly runsChanged: ISignal<IStemma, void>;
  /** The same, for whoever follows one run. */
  readonly runChanged: ISignal<IStemma, IRun>;
  readonly testsChanged: ISignal<IStemma, void>;

  /** Read everything anew; failures are kept in `problem` and not thrown. */
  refresh(): Promise<void>;
  /** The latest run of a paper, if there is one. */
  latestRun(slug: string): IRun | undefined;
  start(request: IRunRequest): Promise<IRun>;
  cancel(run: IRun): Promise<void>;
  retry(run: IRun): Promise<void>;
  startTest(request: IProvenanceRequest): Promise<IProvenanceTest>;
  cancelTest(test: IProvenanceTest): Promise<void>;
}

export const IStemma = new Token<IStemma>(
  'stemma_lab:IStemma',
  'Papers, their runs and tests of descent, kept up to date.'
);

/** The commands; a program, a shortcut or a test may execute them. */
export namespace CommandIDs {
  /** Args: slug. */
  export const openPaper = 'stemma:open-paper';
  /** Args: slug, scale?, parameters?, force?. */
  export const run = 'stemma:run';
  /** Args: id of a run; without it, all that is going on. */
  export const cancel = 'stemma:cancel';
  /** Args: id of a run. */
  export const retry = 'stemma:retry';
  /** Args: id of a run. */
  export const showLog = 'stemma:show-log';
  /** Args: path. The notebook is opened without starting a kernel unless `kernel` is true. */
  export const openNotebook = 'stemma:open-notebook';
  /** Args: fragment, what follows the server's address. */
  export const openMlflow = 'stemma:open-mlflow';
  export const showPanel = 'stemma:show-panel';
  export const searchPapers = 'stemma:search-papers';
  export const refresh = 'stemma:refresh';
}
