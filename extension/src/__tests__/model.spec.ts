import { StemmaModel } from '../model';
import { FakeApi, paperRow, provenanceTest, run } from './fakes';

function pending(model: StemmaModel): boolean {
  return (model as any)._isWatching;
}

describe('StemmaModel', () => {
  let api: FakeApi;
  let model: StemmaModel;

  beforeEach(() => {
    api = new FakeApi();
    model = new StemmaModel(api, { standby: 'never' });
  });

  afterEach(() => model.dispose());

  it('reads papers, runs and tests', async () => {
    api.allRuns = [run({ state: 'succeeded' })];
    api.allTests = [provenanceTest({ state: 'succeeded' })];
    await model.refresh();
    expect(model.papers).toEqual([paperRow()]);
    expect(model.runs).toHaveLength(1);
    expect(model.tests).toHaveLength(1);
    expect(model.isReady).toBe(true);
  });

  it('keeps what it knew and says why a refresh failed', async () => {
    await model.refresh();
    api.fail('runs', 'the disk is gone');
    await model.refresh();
    expect(model.problem).toBe('the disk is gone');
    expect(model.papers).toHaveLength(1);
    await model.refresh();
    expect(model.problem).toBe('');
  });

  it('takes in events, new runs first', async () => {
    await model.refresh();
    const seen: string[] = [];
    model.runChanged.connect((_, changed) => seen.push(changed.state));
    model.receive({ kind: 'run', run: run({ id: 'a', state: 'queued' }) });
    model.receive({ kind: 'run', run: run({ id: 'b', state: 'queued' }) });
    model.receive({ kind: 'run', run: run({ id: 'a', state: 'running' }) });
    expect(model.runs.map(known => known.id)).toEqual(['b', 'a']);
    expect(seen).toEqual(['queued', 'queued', 'running']);
    expect(model.active).toHaveLength(2);
  });

  it('reads the verdicts again when a run ends, and only then', async () => {
    await model.refresh();
    model.receive({ kind: 'run', run: run({ state: 'running' }) });
    expect(api.asked.filter(name => name === 'papers')).toHaveLength(1);
    model.receive({ kind: 'run', run: run({ state: 'succeeded' }) });
    await Promise.resolve();
    expect(api.asked.filter(name => name === 'papers')).toHaveLength(2);
  });

  it('polls only while something is going on', async () => {
    await model.refresh();
    expect(pending(model)).toBe(false);
    model.receive({ kind: 'run', run: run({ state: 'running' }) });
    expect(pending(model)).toBe(true);
    model.receive({ kind: 'run', run: run({ state: 'cancelled' }) });
    expect(pending(model)).toBe(false);
    model.receive({ kind: 'provenance', test: provenanceTest() });
    expect(pending(model)).toBe(true);
  });

  it('reads everything again after the connection was lost', async () => {
    jest.useFakeTimers();
    try {
      await model.refresh();
      api.paperRows = [];
      api.fail('papers', 'no server');
      model.lostConnection();
      await jest.advanceTimersByTimeAsync(1500);
      expect(model.problem).toBe('no server');
      expect(pending(model)).toBe(true);
      await jest.advanceTimersByTimeAsync(120_000);
      expect(model.problem).toBe('');
      expect(model.papers).toEqual([]);
      expect(pending(model)).toBe(false);
    } finally {
      jest.useRealTimers();
    }
  });

  it('finds the latest run of a paper', async () => {
    api.allRuns = [
      run({ id: 'new', slug: 'x' }),
      run({ id: 'other', slug: 'y' }),
      run({ id: 'old', slug: 'x' })
    ];
    await model.refresh();
    expect(model.latestRun('x')?.id).toBe('new');
    expect(model.latestRun('z')).toBeUndefined();
  });

  it('shows a run as soon as it is started', async () => {
    await model.refresh();
    await model.start({ slug: 'palimpsest', scale: 'smoke', parameters: {} });
    expect(model.latestRun('palimpsest')?.state).toBe('queued');
  });
});
