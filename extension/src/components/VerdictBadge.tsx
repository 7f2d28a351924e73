import React from 'react';

import { Verdict } from '../api';

/** The verdicts, the best first. */
export const VERDICTS: readonly Verdict[] = [
  'reproduced',
  'trend holds',
  'contradicted',
  'inconclusive',
  'not tested'
];

export interface IVerdictBadgeProps {
  verdict: Verdict;
  /** How many claims have it; without it the badge shows the word. */
  count?: number;
}

/** A verdict in words and colour, or how often it occurs. */
export function VerdictBadge({
  verdict,
  count
}: IVerdictBadgeProps): JSX.Element {
  const label = count === undefined ? verdict : `${count} ${verdict}`;
  return (
    <span
      className="st-Verdict"
      data-verdict={verdict}
      title={label}
      role={count === undefined ? undefined : 'img'}
      aria-label={count === undefined ? undefined : label}
    >
      {count === undefined ? verdict : `${SIGNS[verdict]}${count}`}
    </span>
  );
}

/** A sign stands beside the number, so that colour is never alone. */
const SIGNS: Record<Verdict, string> = {
  reproduced: '✓',
  'trend holds': '↗',
  contradicted: '✗',
  inconclusive: '?',
  'not tested': '–'
};
