import { HEIGHT, inWords, path, scales, WIDTH } from '../evidenceCurve';
import { formatP, shortName } from '../words';

const CURVE = [
  { examples: 8, p_value: 1 },
  { examples: 40, p_value: 0.01 },
  { examples: 80, p_value: 1e-6 }
];

describe('scales', () => {
  it('put many examples right and a small p-value high, evenly by its logarithm', () => {
    const to = scales(CURVE, null);
    expect(to.mostExamples).toBe(80);
    expect(to.leastP).toBe(1e-6);
    expect(to.x(40) - to.x(0)).toBeCloseTo(to.x(80) - to.x(40));
    expect(to.y(1) - to.y(1e-3)).toBeCloseTo(to.y(1e-3) - to.y(1e-6));
    expect(to.y(1e-6)).toBeLessThan(to.y(1));
    expect(to.x(0)).toBeGreaterThan(0);
    expect(to.x(80)).toBeLessThan(WIDTH);
    expect(to.y(1e-6)).toBeGreaterThan(0);
    expect(to.y(1)).toBeLessThan(HEIGHT);
  });

  it('leave room for the budget, and hold every level while p is large', () => {
    const to = scales(CURVE.slice(0, 1), 400);
    expect(to.mostExamples).toBe(400);
    expect(to.leastP).toBeLessThan(1e-3);
    expect(scales([], null).x(1)).toBeLessThan(WIDTH);
  });
});

describe('path', () => {
  it('goes through every point', () => {
    const to = scales(CURVE, null);
    const numbers = path(CURVE, to).split(/[ML ]/).filter(Boolean).map(Number);
    expect(numbers).toHaveLength(6);
    CURVE.forEach((point, index) => {
      expect(numbers[2 * index]).toBeCloseTo(to.x(point.examples), 1);
      expect(numbers[2 * index + 1]).toBeCloseTo(to.y(point.p_value), 1);
    });
    expect(path([], to)).toBe('');
  });

  it('draws a p-value of 0, which has no logarithm', () => {
    const zero = [{ examples: 1, p_value: 0 }];
    expect(path(zero, scales(zero, null))).not.toMatch(/NaN|Infinity/);
  });
});

describe('words', () => {
  it('tell what the picture shows', () => {
    expect(inWords([])).toBe('No p-value yet.');
    expect(inWords(CURVE)).toBe(
      'The p-value went from 1 after 8 examples to 1e-6 after 80: at most 0.001.'
    );
    expect(inWords(CURVE.slice(0, 1))).toContain('above 0.05');
    expect(inWords(CURVE.slice(0, 2))).toContain('at most 0.05');
  });

  it.each([
    [1, '1'],
    [0.0316, '0.032'],
    [0.05, '0.05'],
    [0.001, '0.001'],
    [0.0001, '1e-4'],
    [1.234e-7, '1.2e-7'],
    [2.2e-308, '2.2e-308']
  ])('write %p as %p', (value, text) => {
    expect(formatP(value)).toBe(text);
  });

  it('shorten paths and hub ids, but no address', () => {
    expect(shortName('runs/models/alice')).toBe('alice');
    expect(shortName('https://host/v1')).toBe('https://host/v1');
  });
});
