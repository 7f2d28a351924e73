import { IEvidencePoint } from '../api';
import { formatP } from './words';

export const WIDTH = 280;
export const HEIGHT = 150;

/** The levels at which the words of a verdict change. */
export const LEVELS: readonly number[] = [0.05, 1e-3];

const LEFT = 44;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 30;

/** The picture is at least as high as this p-value needs: one that starts flat looks flat. */
const LEAST_P = 1e-4;

/** Where a point of the curve is drawn: many examples right, a small p-value high. */
export interface IScales {
  mostExamples: number;
  leastP: number;
  x(examples: number): number;
  y(pValue: number): number;
}

/** The frame of a curve; `budget` leaves room for the examples yet to be asked. */
export function scales(
  curve: readonly IEvidencePoint[],
  budget: number | null
): IScales {
  const mostExamples = Math.max(
    1,
    budget ?? 0,
    ...curve.map(point => point.examples)
  );
  const leastP = Math.min(LEAST_P, ...curve.map(point => positive(point)));
  const height = HEIGHT - TOP - BOTTOM;
  return {
    mostExamples,
    leastP,
    x: examples => LEFT + ((WIDTH - LEFT - RIGHT) * examples) / mostExamples,
    y: pValue => {
      const share = Math.log10(pValue) / Math.log10(leastP);
      return TOP + height * (1 - Math.min(Math.max(share, 0), 1));
    }
  };
}

/** The `d` of an SVG path through the points; empty if there are none. */
export function path(curve: readonly IEvidencePoint[], to: IScales): string {
  return curve
    .map(point => {
      const x = to.x(point.examples).toFixed(1);
      const y = to.y(positive(point)).toFixed(1);
      return `${x} ${y}`;
    })
    .map((place, index) => `${index === 0 ? 'M' : 'L'}${place}`)
    .join('');
}

/** What the picture shows, for whoever does not see it. */
export function inWords(curve: readonly IEvidencePoint[]): string {
  if (curve.length === 0) {
    return 'No p-value yet.';
  }
  const first = curve[0];
  const last = curve[curve.length - 1];
  const reached = LEVELS.filter(level => last.p_value <= level);
  const where =
    reached.length === 0
      ? `above ${formatP(LEVELS[0])}`
      : `at most ${formatP(reached[reached.length - 1])}`;
  return (
    `The p-value went from ${formatP(first.p_value)} after ${first.examples} examples to ` +
    `${formatP(last.p_value)} after ${last.examples}: ${where}.`
  );
}

/** A p-value of 0 has no logarithm; the smallest number stands for it. */
function positive({ p_value }: IEvidencePoint): number {
  return Math.max(p_value, Number.MIN_VALUE);
}
