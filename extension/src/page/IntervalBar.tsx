import React from 'react';

import { IBar, Verdict } from '../api';

/** Size of the drawing in whose units a bar is given; as in `stemma/report/site/bars.py`. */
export const WIDTH = 240;
export const HEIGHT = 16;

const MIDDLE = HEIGHT / 2;

export interface IIntervalBarProps {
  bar: IBar;
  verdict: Verdict;
}

/**
 * An estimate with its interval, drawn.
 *
 * The threshold is a dashed line, the claimed values a tinted band, an unbounded end an arrow.
 */
export function IntervalBar({ bar, verdict }: IIntervalBarProps): JSX.Element {
  const [from, to] = bar.claimed;
  return (
    <svg
      className="st-Bar"
      data-verdict={verdict}
      role="img"
      aria-label={bar.text}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
    >
      <rect
        className="st-Bar-claimed"
        x={from}
        y={0}
        width={Math.max(to - from, 0)}
        height={HEIGHT}
      />
      {bar.marks.map((x, index) => (
        <line
          key={index}
          className="st-Bar-mark"
          x1={x}
          x2={x}
          y1={0}
          y2={HEIGHT}
        />
      ))}
      {bar.low !== null && bar.high !== null && (
        <>
          <line
            className="st-Bar-interval"
            x1={bar.low}
            x2={bar.high}
            y1={MIDDLE}
            y2={MIDDLE}
          />
          <End x={bar.low} isOpen={bar.open_low} inwards={1} />
          <End x={bar.high} isOpen={bar.open_high} inwards={-1} />
        </>
      )}
      <circle
        className="st-Bar-estimate"
        cx={bar.estimate}
        cy={MIDDLE}
        r={3.5}
      />
    </svg>
  );
}

interface IEndProps {
  x: number;
  isOpen: boolean;
  /** The direction in which the interval lies. */
  inwards: 1 | -1;
}

function End({ x, isOpen, inwards }: IEndProps): JSX.Element {
  const back = x + 4 * inwards;
  const path = isOpen
    ? `M${back} 3 L${x} ${MIDDLE} L${back} ${HEIGHT - 3}`
    : `M${x} 4 L${x} ${HEIGHT - 4}`;
  return <path className="st-Bar-interval" d={path} />;
}
