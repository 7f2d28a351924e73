import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import {
  Activity,
  IPaperRow,
  IProvenanceRequest,
  IProvenanceTest,
  IRun,
  IRunRequest,
  IStemmaApi,
  RunStateName
} from './api';
import { IStemma } from './tokens';

/** How many runs are kept. */
export const MAX_RUNS = 200;

const SAFETY_INTERVAL = 15_000;
const BACKOFF = { interval: SAFETY_INTERVAL, backoff: true, max: 120_000 };

const OPEN: readonly RunStateName[] = ['queued', 'starting', 'running'];

/** Whether a run is not over yet. */
export function isActive(run: Pick<IRun, 'state'>): boolean {
  return OPEN.includes(run.state);
}

/**
 * Keeps papers, runs and tests up to date from the server's events.
 *
 * The event bus has no replay: what was sent while the connection was down is lost. So the state
 * is read again after a failure and, as long as something is going on, every now and then; an idle
 * or hidden lab asks for nothing.
 */
export class StemmaModel implements IStemma, IDisposable {
  constructor(
    readonly api: IStemmaApi,
    options: StemmaModel.IOptions = {}
  ) {
    this._poll = new Poll({
      name: 'stemma_lab:activity',
      auto: false,
      factory: () => this._readActivity(),
      frequency: BACKOFF,
      standby: options.standby ?? 'when-hidden'
    });
  }

  get papers(): readonly IPaperRow[] {
    return this._papers;
  }

  get runs(): readonly IRun[] {
    return this._runs;
  }

  get tests(): readonly IProvenanceTest[] {
    return this._tests;
  }

  get active(): readonly IRun[] {
    return this._runs.filter(isActive);
  }

  get isReady(): boolean {
    return this._isReady;
  }

  get problem(): string {
    return this._problem;
  }

  get papersChanged(): ISignal<IStemma, void> {
    return this._papersChanged;
  }

  get runsChanged(): ISignal<IStemma, void> {
    return this._runsChanged;
  }

  get runChanged(): ISignal<IStemma, IRun> {
    return this._runChanged;
  }

  get testsChanged(): ISignal<IStemma, void> {
    return this._testsChanged;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._poll.dispose();
      Signal.clearData(this);
    }
  }

  async refresh(): Promise<void> {
    try {
      const [papers, runs, tests] = await Promise.all([
        this.api.papers(),
        this.api.runs(MAX_RUNS),
        this.api.tests()
      ]);
      this._problem = '';
      this._papers = papers;
      this._runs = runs;
      this._tests = tests;
    } catch (error) {
      this._problem = reason(error);
    }
    if (this.isDisposed) {
      return;
    }
    this._isReady = true;
    this._papersChanged.emit();
    this._runsChanged.emit();
    this._testsChanged.emit();
    this._watch();
  }

  /** Take in an event of the server. */
  receive(activity: Activity): void {
    if (activity.kind === 'run') {
      this._take(activity.run);
    } else {
      this._takeTest(activity.test);
    }
    this._watch();
  }

  /** The server cannot be reached: read everything anew as soon as it can. */
  lostConnection(): void {
    this._isStale = true;
    this._watch();
  }

  latestRun(slug: string): IRun | undefined {
    return this._runs.find(run => run.slug === slug);
  }

  async start(request: IRunRequest): Promise<IRun> {
    const run = await this.api.start(request);
    this._take(run);
    this._watch();
    return run;
  }

  async cancel(run: IRun): Promise<void> {
    await this.api.cancel(run.id);
  }

  async retry(run: IRun): Promise<void> {
    await this.api.retry(run.id);
    await this._readActivity();
    this._watch();
  }

  async startTest(request: IProvenanceRequest): Promise<IProvenanceTest> {
    const test = await this.api.startTest(request);
    this._takeTest(test);
    this._watch();
    return test;
  }

  async cancelTest(test: IProvenanceTest): Promise<void> {
    await this.api.cancelTest(test.id);
    this._takeTest(await this.api.test(test.id));
  }

  private _take(run: IRun): void {
    const index = this._runs.findIndex(known => known.id === run.id);
    const before = index < 0 ? undefined : this._runs[index];
    this._runs =
      before === undefined
        ? [run, ...this._runs].slice(0, MAX_RUNS)
        : this._runs.map(known => (known.id === run.id ? run : known));
    this._runChanged.emit(run);
    this._runsChanged.emit();
    const hasEnded = !isActive(run) && (!before || isActive(before));
    if (hasEnded) {
      void this._readPapers();
    }
  }

  private _takeTest(test: IProvenanceTest): void {
    const others = this._tests.filter(known => known.id !== test.id);
    this._tests = [test, ...others].sort((a, b) => b.started - a.started);
    this._testsChanged.emit();
  }

  private async _readPapers(): Promise<void> {
    try {
      this._papers = await this.api.papers();
    } catch (error) {
      console.warn('Stemma: the papers could not be read', error);
      this.lostConnection();
      return;
    }
    this._papersChanged.emit();
  }

  /** Read what may have changed behind the events; throwing makes the poll wait longer. */
  private async _readActivity(): Promise<void> {
    if (this._isStale) {
      this._isStale = false;
      await this.refresh();
      this._isStale = this._problem !== '';
    } else {
      const [runs, tests] = await Promise.all([
        this.api.runs(MAX_RUNS),
        this.api.tests()
      ]);
      const before = new Map(this._runs.map(run => [run.id, run]));
      this._runs = runs;
      this._tests = tests;
      runs
        .filter(run => !isEqual(run, before.get(run.id)))
        .forEach(run => this._runChanged.emit(run));
      this._runsChanged.emit();
      this._testsChanged.emit();
      if (runs.some(run => !isActive(run) && isOpen(before.get(run.id)))) {
        await this._readPapers();
      }
    }
    this._watch();
    if (this._problem) {
      throw new Error(this._problem);
    }
  }

  /** Poll while something is going on or the connection was lost, and at no other time. */
  private _watch(): void {
    if (this.isDisposed) {
      return;
    }
    const isNeeded =
      this._isStale ||
      this.active.length > 0 ||
      this._tests.some(test => test.state === 'running');
    if (isNeeded && !this._isWatching) {
      this._isWatching = true;
      void this._poll.schedule({
        phase: 'started',
        interval: this._isStale ? 1000 : SAFETY_INTERVAL
      });
    } else if (!isNeeded && this._isWatching) {
      this._isWatching = false;
      void this._poll.stop();
    }
  }

  private _papers: readonly IPaperRow[] = [];
  private _runs: readonly IRun[] = [];
  private _tests: readonly IProvenanceTest[] = [];
  private _isReady = false;
  private _isStale = false;
  private _isWatching = false;
  private _problem = '';
  private readonly _poll: Poll;
  private readonly _papersChanged = new Signal<IStemma, void>(this);
  private readonly _runsChanged = new Signal<IStemma, void>(this);
  private readonly _runChanged = new Signal<IStemma, IRun>(this);
  private readonly _testsChanged = new Signal<IStemma, void>(this);
}

export namespace StemmaModel {
  export interface IOptions {
    /** When the safety poll rests; `when-hidden` unless a test says otherwise. */
    standby?: Poll.Standby;
  }
}

/** What went wrong, in words. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isOpen(run: IRun | undefined): boolean {
  return run !== undefined && isActive(run);
}

function isEqual(run: IRun, before: IRun | undefined): boolean {
  return JSON.stringify(run) === JSON.stringify(before);
}
