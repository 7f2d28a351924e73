import React from 'react';

import { IRun } from '../api';
import { isActive } from '../model';
import { duration } from '../time';
import { ProgressBar } from './ProgressBar';

/** What a run is doing, in words: its state, the cell it is at, how it failed. */
export function stateWords(run: IRun): string {
  if (run.cached) {
    return 'cached';
  }
  if (run.state === 'running' && run.progress && run.progress.cell > 0) {
    const { cell, cells, heading } = run.progress;
    return `cell ${cell} of ${cells}${heading ? `: ${heading}` : ''}`;
  }
  const failure = run.failure ? ` (${run.failure})` : '';
  return `${run.state}${failure}`;
}

/** The state of a run, with a bar while it goes on. */
export function RunState({ run }: { run: IRun }): JSX.Element {
  const took =
    run.started !== null && run.ended !== null
      ? `, ${duration(run.ended - run.started)}`
      : '';
  const words = stateWords(run);
  return (
    <span className="st-RunState" data-state={run.state}>
      {isActive(run) && (
        <ProgressBar progress={run.progress} label={`${run.label}: ${words}`} />
      )}
      <span className="st-RunState-words" title={run.message || words}>
        {words}
        {took}
      </span>
    </span>
  );
}
