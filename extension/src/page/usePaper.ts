import { useCallback, useEffect, useRef, useState } from 'react';

import { IPaper, IRun } from '../api';
import { isActive, reason } from '../model';
import { IStemma } from '../tokens';

/** A paper as it was last read. */
export interface IPaperState {
  /** Null until it was read once. */
  paper: IPaper | null;
  /** Why the last reading failed; empty if it did not. */
  problem: string;
  /** The run whose result this reading brought, if there was one. */
  finished: IRun | null;
  read(): void;
}

/**
 * A paper, read anew when its results may have changed.
 *
 * While nobody sees it nothing is read; that is made up for as soon as it is shown.
 */
export function usePaper(
  model: IStemma,
  slug: string,
  isShown: boolean
): IPaperState {
  const [state, setState] = useState<Omit<IPaperState, 'read'>>({
    paper: null,
    problem: '',
    finished: null
  });
  const [isStale, setIsStale] = useState(true);
  const finished = useRef<IRun | null>(null);

  useEffect(() => {
    const changed = () => setIsStale(true);
    const ended = (_: IStemma, run: IRun) => {
      if (run.slug === slug && !isActive(run)) {
        finished.current = run.state === 'succeeded' ? run : null;
        setIsStale(true);
      }
    };
    model.papersChanged.connect(changed);
    model.runChanged.connect(ended);
    return () => {
      model.papersChanged.disconnect(changed);
      model.runChanged.disconnect(ended);
    };
  }, [model, slug]);

  const latest = useRef(0);
  useEffect(() => {
    if (!isStale || !isShown) {
      return;
    }
    setIsStale(false);
    const number = ++latest.current;
    const read = async () => {
      try {
        const paper = await model.api.paper(slug);
        if (number === latest.current) {
          setState({ paper, problem: '', finished: finished.current });
        }
      } catch (error) {
        if (number === latest.current) {
          setState(before => ({ ...before, problem: reason(error) }));
        }
      }
    };
    void read();
  }, [model, slug, isShown, isStale]);

  const read = useCallback(() => setIsStale(true), []);
  return { ...state, read };
}

/** The runs of a paper to be shown: all that go on, or else the latest. */
export function useRuns(model: IStemma, slug: string): IRun[] {
  const [runs, setRuns] = useState(() => runsOf(model, slug));
  useEffect(() => {
    const update = () => setRuns(before => kept(before, runsOf(model, slug)));
    update();
    model.runsChanged.connect(update);
    return () => {
      model.runsChanged.disconnect(update);
    };
  }, [model, slug]);
  return runs;
}

function runsOf(model: IStemma, slug: string): IRun[] {
  const active = model.active.filter(run => run.slug === slug);
  const latest = model.latestRun(slug);
  return active.length > 0 || !latest ? active : [latest];
}

/** The former list if it holds the same runs, so that other papers' runs draw nothing here. */
function kept(before: IRun[], now: IRun[]): IRun[] {
  const isSame =
    before.length === now.length &&
    before.every((run, index) => run === now[index]);
  return isSame ? before : now;
}
