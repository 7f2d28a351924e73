import { IParameter, Value } from '../../api';
import { changed, limits, parse, toText } from '../parameters';
import cases from './parameterCases.json';
import { parameter } from './fakes';

/** The table is read by `test_form_rules.py` too, which asks the server's own rules. */
interface ICase extends Partial<IParameter> {
  text: string;
  value?: Value;
  error?: string;
}

describe('parse', () => {
  it.each(cases as ICase[])(
    '$type $text',
    ({ text, value, error, ...fields }) => {
      const parsed = parse(parameter(fields), text);
      expect(parsed).toEqual(error === undefined ? { value } : { error });
    }
  );

  it.each(['int', 'float', 'bool', 'str', 'list[int]', 'list[str]'] as const)(
    'refuses an empty field for %s',
    type => {
      const defaults = { smoke: 1, small: 1, gpu: 1, paper: 1 };
      const parsed = parse(parameter({ type, defaults }), ' ');
      expect(parsed).toEqual({
        error: expect.stringContaining(`must be ${type}, got nothing`)
      });
    }
  );

  it('takes an empty text where the paper leaves it empty', () => {
    const defaults = { smoke: '', small: '', gpu: '', paper: 'x' };
    expect(parse(parameter({ type: 'str', defaults }), '')).toEqual({
      value: ''
    });
  });

  it.each([
    ['int', '9007199254740993', 'must be between'],
    ['float', '1e400', 'must be a finite number'],
    ['float', 'nan', 'must be float'],
    ['list[int]', '1,,2', 'must be list[int]'],
    ['list[int]', '1, 2.5', 'must be list[int]'],
    ['list[float]', 'x', 'must be list[float]'],
    ['list[str]', 'a,,b', 'empty item'],
    ['list[str]', 'a,', 'empty item'],
    ['list[str]', '"a', 'double quotes'],
    ['list[str]', '"\\x"', 'double quotes']
  ] as const)('refuses %s %s', (type, text, reason) => {
    expect(parse(parameter({ type }), text)).toEqual({
      error: expect.stringContaining(reason)
    });
  });
});

describe('toText', () => {
  it.each([
    ['int', 12],
    ['float', 1e-7],
    ['bool', false],
    ['str', ' a '],
    ['list[int]', []],
    ['list[float]', [0.1, 1e21, -3]],
    ['list[str]', ['a', 'b, c', '', ' d', '"e"', '[f]', 'g\nh']]
  ] as const)('is undone by parse: %s', (type, value) => {
    const text = toText(value as Value);
    expect(parse(parameter({ type }), text)).toEqual({ value });
  });
});

describe('changed', () => {
  it('keeps what differs', () => {
    const defaults = { a: 1, b: [1, 2], c: 'x' };
    expect(changed({ a: 1, b: [2, 1], c: 'x' }, defaults)).toEqual({
      b: [2, 1]
    });
  });
});

describe('limits', () => {
  it.each([
    [{ minimum: 1 }, 'at least 1'],
    [{ maximum: 0.5 }, 'at most 0.5'],
    [{ minimum: 1, maximum: 3 }, '1 to 3'],
    [{ type: 'list[str]', choices: ['a', 'b'] }, 'each one of a, b'],
    [{}, '']
  ] as const)('%j: %s', (fields, words) => {
    expect(limits(parameter(fields as Partial<IParameter>))).toBe(words);
  });
});
