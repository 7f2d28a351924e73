/**
 * From the text of a form's field to a typed value and back.
 *
 * The rules are those of `Parameter.check` in `stemma/catalog.py`, which has the last word; here
 * they are applied at every key press.
 */

import { IParameter, Scale, Value } from '../api';

type Item = boolean | number | string;

/** A value, or the reason why the text is none. */
export type Parsed = { value: Value } | { error: string };

const INTEGER = /^[+-]?\d+$/;
const FLOAT = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Says what is wrong with a text; caught in `parse` and nowhere else. */
class Refusal extends Error {}

/** The value that `text` stands for, if the parameter allows it. */
export function parse(parameter: IParameter, text: string): Parsed {
  try {
    return { value: read(parameter, text) };
  } catch (error) {
    if (error instanceof Refusal) {
      return { error: error.message };
    }
    throw error;
  }
}

/** The text that stands for a value: `parse` gives the value back. */
export function toText(value: Value): string {
  if (!Array.isArray(value)) {
    return String(value);
  }
  const items = (value as (number | string)[]).map(item =>
    typeof item === 'string' && isAmbiguous(item)
      ? JSON.stringify(item)
      : String(item)
  );
  return items.length > 0 ? items.join(', ') : '[]';
}

/** The values that differ from the defaults. */
export function changed(
  values: Record<string, Value>,
  defaults: Record<string, Value>
): Record<string, Value> {
  const differing: Record<string, Value> = {};
  for (const [name, value] of Object.entries(values)) {
    if (!isSame(value, defaults[name])) {
      differing[name] = value;
    }
  }
  return differing;
}

/** The defaults at a scale, by name. */
export function defaultsAt(
  parameters: readonly IParameter[],
  scale: Scale
): Record<string, Value> {
  const values: Record<string, Value> = {};
  for (const { name, defaults } of parameters) {
    values[name] = defaults[scale];
  }
  return values;
}

/** What a field allows, in words; empty if its type says it all. */
export function limits(parameter: IParameter): string {
  const { minimum, maximum, choices } = parameter;
  const words = [
    choices && `one of ${choices.join(', ')}`,
    minimum !== null && maximum !== null
      ? `${minimum} to ${maximum}`
      : minimum !== null
        ? `at least ${minimum}`
        : maximum !== null && `at most ${maximum}`
  ].filter(Boolean);
  const each = parameter.type.startsWith('list') && words.length > 0;
  return (each ? 'each ' : '') + words.join(', ');
}

export function isSame(one: Value, other: Value): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function read(parameter: IParameter, text: string): Value {
  const { type } = parameter;
  if (text.trim() === '' && !isEmptyAllowed(parameter)) {
    const hint = type.startsWith('list') ? ' ([] for an empty list)' : '';
    throw new Refusal(`must be ${type}, got nothing${hint}`);
  }
  switch (type) {
    case 'list[int]':
    case 'list[float]':
      return splitNumbers(text).map(item => {
        const value = readItem(type, item, text) as number;
        checkItem(parameter, value);
        return value;
      });
    case 'list[str]':
      return splitWords(text).map(item => {
        checkItem(parameter, item);
        return item;
      });
    default: {
      const value = readItem(type, text, text);
      checkItem(parameter, value);
      return value;
    }
  }
}

/** Only a text may be empty, and only if the paper itself leaves it empty at some scale. */
function isEmptyAllowed({ type, defaults }: IParameter): boolean {
  return type === 'str' && Object.values(defaults).includes('');
}

function readItem(type: IParameter['type'], item: string, text: string): Item {
  const word = item.trim();
  const kind = type.replace(/^list\[(.*)\]$/, '$1');
  if (kind === 'str') {
    return item;
  }
  if (kind === 'bool' && (word === 'true' || word === 'false')) {
    return word === 'true';
  }
  if (kind === 'int' && INTEGER.test(word)) {
    return exact(Number(word), word);
  }
  if (kind === 'float' && FLOAT.test(word)) {
    return finite(Number(word), word);
  }
  throw new Refusal(`must be ${type}, got '${text}'`);
}

/** Whole numbers beyond 2^53 would reach the server as others. */
function exact(value: number, word: string): number {
  if (!Number.isSafeInteger(value)) {
    const most = Number.MAX_SAFE_INTEGER;
    throw new Refusal(`must be between -${most} and ${most}, got ${word}`);
  }
  return value;
}

function finite(value: number, word: string): number {
  if (!Number.isFinite(value)) {
    throw new Refusal(`must be a finite number, got ${word}`);
  }
  return value;
}

function checkItem(parameter: IParameter, item: Item): void {
  const { choices, minimum, maximum } = parameter;
  if (choices && !choices.includes(item)) {
    const shown = typeof item === 'string' ? `'${item}'` : item;
    throw new Refusal(`must be one of ${choices.join(', ')}, got ${shown}`);
  }
  if (typeof item !== 'number') {
    return;
  }
  if (minimum !== null && item < minimum) {
    throw new Refusal(`must be at least ${minimum}, got ${item}`);
  }
  if (maximum !== null && item > maximum) {
    throw new Refusal(`must be at most ${maximum}, got ${item}`);
  }
}

/** A list may stand in brackets, as the command line and Python write it. */
function withoutBrackets(text: string): string {
  return text.trim().replace(/^\[(.*)\]$/s, '$1');
}

function splitNumbers(text: string): string[] {
  const inner = withoutBrackets(text);
  return inner.trim() === '' ? [] : inner.split(',');
}

/** Items are separated by commas; one with a comma of its own stands in double quotes. */
function splitWords(text: string): string[] {
  const inner = withoutBrackets(text);
  if (inner.trim() === '') {
    return [];
  }
  const items: string[] = [];
  const item = /\s*("(?:[^"\\]|\\.)*"|[^,]*?)\s*(,|$)/sy;
  let isLast = false;
  while (!isLast) {
    const match = item.exec(inner);
    if (!match || match[1] === '') {
      throw new Refusal(`has an empty item or an open quote, got '${text}'`);
    }
    items.push(unquoted(match[1]));
    isLast = match[2] === '';
  }
  return items;
}

function unquoted(item: string): string {
  if (!item.startsWith('"')) {
    return item;
  }
  try {
    return JSON.parse(item);
  } catch {
    throw new Refusal(`must be a word or text in double quotes, got ${item}`);
  }
}

/** Whether an item of a list would be read as something else without quotes. */
function isAmbiguous(item: string): boolean {
  return item === '' || item !== item.trim() || /[",[\]\n]/.test(item);
}
