import { IProvenanceTest } from '../api';

/** A p-value with two digits: `0.032`, `1.2e-7`, `1`. */
export function formatP(value: number): string {
  if (value === 0 || value >= 0.001) {
    return String(Number(value.toPrecision(2)));
  }
  const [digits, exponent] = value.toExponential(1).split('e');
  return `${Number(digits)}e${exponent}`;
}

/** The last part of a path, or the whole of what is no path. */
export function shortName(suspect: string): string {
  const isAddress = /^https?:/.test(suspect);
  return isAddress ? suspect : suspect.split('/').pop() || suspect;
}

/** State of a test in words, with its p-value if it has one. */
export function stateInWords({ state, p_value }: IProvenanceTest): string {
  return p_value === null ? state : `p = ${formatP(p_value)}`;
}
