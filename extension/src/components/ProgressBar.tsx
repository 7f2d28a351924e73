import React from 'react';

import { IProgress } from '../api';

/** The share of a notebook that is done, from 0 to 1: cells, and the way within the cell. */
export function share(progress: IProgress | null): number {
  if (!progress || progress.cells === 0) {
    return 0;
  }
  const within = progress.total > 0 ? progress.done / progress.total : 0;
  const done = Math.max(progress.cell - 1, 0) + Math.min(within, 1);
  return Math.min(done / progress.cells, 1);
}

export interface IProgressBarProps {
  progress: IProgress | null;
  label: string;
}

/** How far a notebook is. */
export function ProgressBar({
  progress,
  label
}: IProgressBarProps): JSX.Element {
  return (
    <progress
      className="st-Progress"
      aria-label={label}
      max={1}
      value={share(progress)}
    />
  );
}
