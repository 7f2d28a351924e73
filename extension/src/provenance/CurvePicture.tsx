import React from 'react';

import { IEvidencePoint } from '../api';
import {
  HEIGHT,
  inWords,
  IScales,
  LEVELS,
  path,
  scales,
  WIDTH
} from './evidenceCurve';
import { formatP } from './words';

export interface ICurvePictureProps {
  curve: readonly IEvidencePoint[];
  budget: number | null;
}

/** The p-value over the examples asked, drawn: the higher, the stronger the evidence. */
export function CurvePicture({
  curve,
  budget
}: ICurvePictureProps): JSX.Element {
  const to = scales(curve, budget);
  const last = curve[curve.length - 1];
  return (
    <svg
      className="st-Curve"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={inWords(curve)}
    >
      <Axes to={to} />
      {LEVELS.map(level => (
        <Level key={level} level={level} to={to} />
      ))}
      <path className="st-Curve-line" d={path(curve, to)} />
      {last && (
        <circle
          className="st-Curve-last"
          cx={to.x(last.examples)}
          cy={to.y(Math.max(last.p_value, Number.MIN_VALUE))}
          r={3}
        />
      )}
    </svg>
  );
}

function Axes({ to }: { to: IScales }): JSX.Element {
  const [left, right, bottom] = [to.x(0), to.x(to.mostExamples), to.y(1)];
  return (
    <g className="st-Curve-axes">
      <path d={`M${left} ${to.y(to.leastP)}V${bottom}H${right}`} />
      <text x={left - 4} y={bottom + 4} textAnchor="end">
        1
      </text>
      <text x={left - 4} y={to.y(to.leastP) + 4} textAnchor="end">
        {formatP(to.leastP)}
      </text>
      <text x={left} y={bottom + 13} textAnchor="middle">
        0
      </text>
      <text x={right} y={bottom + 13} textAnchor="end">
        {to.mostExamples}
      </text>
      <text x={(left + right) / 2} y={bottom + 25} textAnchor="middle">
        examples asked
      </text>
      <text x={2} y={(bottom + to.y(to.leastP)) / 2}>
        p
      </text>
    </g>
  );
}

function Level({ level, to }: { level: number; to: IScales }): JSX.Element {
  const y = to.y(level);
  return (
    <g className="st-Curve-level">
      <path d={`M${to.x(0)} ${y}H${to.x(to.mostExamples)}`} />
      <text x={to.x(to.mostExamples)} y={y - 3} textAnchor="end">
        {formatP(level)}
      </text>
    </g>
  );
}
