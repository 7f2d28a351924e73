import React, { useEffect, useState } from 'react';

import { IProgress, IRun } from '../api';
import { ProgressBar } from '../components/ProgressBar';
import { isActive } from '../model';
import { duration } from '../time';

export interface IRunProgressProps {
  run: IRun;
  /** Whether somebody can see it; the clock stands still otherwise. */
  isShown: boolean;
  onStop: (run: IRun) => void;
  onLog: (run: IRun) => void;
}

/** How far a run is, cell by cell, or what became of it. */
export function RunProgress({
  run,
  isShown,
  onStop,
  onLog
}: IRunProgressProps): JSX.Element {
  const isGoingOn = isActive(run);
  const now = useNow(isShown && run.state === 'running');
  const name = `${run.slug} at ${run.scale}`;
  return (
    <section
      className="st-RunProgress"
      data-state={run.state}
      aria-label={`Run at ${run.scale}`}
    >
      <div className="st-RunProgress-head">
        <strong>{run.scale}</strong>
        <span role="status">{outcome(run)}</span>
        {run.started !== null && !run.cached && (
          <span className="st-RunProgress-time">
            {duration((run.ended ?? now) - run.started)}
          </span>
        )}
        {run.attempts > 1 && <span>attempt {run.attempts}</span>}
        {isGoingOn && (
          <button
            type="button"
            className="jp-mod-styled jp-mod-warn"
            aria-label={`Stop ${name}`}
            onClick={() => onStop(run)}
          >
            Stop
          </button>
        )}
        <button
          type="button"
          className="st-Link"
          aria-label={`Log of ${name}`}
          onClick={() => onLog(run)}
        >
          Log
        </button>
      </div>
      {isGoingOn && run.progress && <Cells progress={run.progress} />}
      {run.cached && (
        <p className="st-Note">
          A completed run with the same code, data and parameters was there
          already. Run again executes it anew.
        </p>
      )}
      {run.message && <p className="st-Message">{run.message}</p>}
    </section>
  );
}

function Cells({ progress }: { progress: IProgress }): JSX.Element {
  const { cell, cells, heading, done, total } = progress;
  return (
    <>
      <ProgressBar progress={progress} label="Progress of the notebook" />
      <div>
        Cell {cell} of {cells}
        <span className="st-RunProgress-heading" aria-live="polite">
          {heading && `: ${heading}`}
        </span>
      </div>
      {total > 0 && (
        <div className="st-RunProgress-within">
          <progress
            className="st-Progress"
            aria-label="Progress within the cell"
            max={total}
            value={Math.min(done, total)}
          />{' '}
          {done} of {total}
        </div>
      )}
    </>
  );
}

function outcome({ state, failure }: IRun): string {
  return failure ? `${state} (${failure})` : state;
}

/** The time in seconds; it moves on while `isTicking` and the browser's tab is visible. */
function useNow(isTicking: boolean): number {
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    if (!isTicking) {
      return;
    }
    const tick = () => {
      if (!document.hidden) {
        setNow(Date.now() / 1000);
      }
    };
    tick();
    const timer = window.setInterval(tick, 1000);
    document.addEventListener('visibilitychange', tick);
    return () => {
      window.clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    };
  }, [isTicking]);
  return now;
}
