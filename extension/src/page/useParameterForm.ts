import { useCallback, useMemo, useState } from 'react';

import { IParameter, Scale, Value } from '../api';
import { changed, defaultsAt, parse, toText } from './parameters';

/** What the form holds and what can be done with it. */
export interface IParameterForm {
  readonly parameters: readonly IParameter[];
  readonly scale: Scale;
  /** What stands in each field. */
  readonly texts: Record<string, string>;
  /** Why a field is refused, by its name. */
  readonly errors: Record<string, string>;
  /** The fields that differ from the defaults of the scale. */
  readonly edited: Record<string, string>;
  /** The values that differ from the defaults; null while a field is refused. */
  readonly values: Record<string, Value> | null;
  setScale(scale: Scale): void;
  edit(name: string, text: string): void;
  reset(name: string): void;
  resetAll(): void;
  /** Show what the server found. */
  refuse(errors: Record<string, string>): void;
}

const NOTHING: Record<string, string> = {};

/**
 * The state of a paper's form.
 *
 * Another scale brings its defaults to every field but those that the user has changed.
 */
export function useParameterForm(
  parameters: readonly IParameter[],
  first: Scale
): IParameterForm {
  const [scale, chooseScale] = useState(first);
  const [edits, setEdits] = useState(NOTHING);
  const [refused, setRefused] = useState(NOTHING);

  const reset = useCallback((name: string) => {
    setEdits(before => without(before, name));
    setRefused(before => without(before, name));
  }, []);
  const edit = useCallback((name: string, text: string) => {
    setEdits(before => ({ ...before, [name]: text }));
    setRefused(before => without(before, name));
  }, []);
  const resetAll = useCallback(() => {
    setEdits(NOTHING);
    setRefused(NOTHING);
  }, []);

  const fields = useMemo(
    () => readFields(parameters, scale, edits),
    [parameters, scale, edits]
  );
  const setScale = (chosen: Scale) => {
    chooseScale(chosen);
    // A field that the user brought back to its default goes with the scale again.
    setEdits(fields.edited);
    setRefused(NOTHING);
  };
  const errors = useMemo(
    () => ({ ...refused, ...fields.errors }),
    [refused, fields]
  );
  return {
    parameters,
    scale,
    ...fields,
    errors,
    setScale,
    edit,
    reset,
    resetAll,
    refuse: setRefused
  };
}

function readFields(
  parameters: readonly IParameter[],
  scale: Scale,
  edits: Record<string, string>
): Pick<IParameterForm, 'texts' | 'errors' | 'edited' | 'values'> {
  const defaults = defaultsAt(parameters, scale);
  const texts: Record<string, string> = {};
  const errors: Record<string, string> = {};
  const edited: Record<string, string> = {};
  const values: Record<string, Value> = {};
  for (const parameter of parameters) {
    const { name } = parameter;
    const initial = toText(defaults[name]);
    const text = edits[name] ?? initial;
    const parsed = parse(parameter, text);
    texts[name] = text;
    if (text !== initial) {
      edited[name] = text;
    }
    if ('error' in parsed) {
      errors[name] = parsed.error;
    } else {
      values[name] = parsed.value;
    }
  }
  const isValid = Object.keys(errors).length === 0;
  return {
    texts,
    errors,
    edited,
    values: isValid ? changed(values, defaults) : null
  };
}

function without(
  record: Record<string, string>,
  name: string
): Record<string, string> {
  if (!(name in record)) {
    return record;
  }
  const rest = { ...record };
  delete rest[name];
  return rest;
}
