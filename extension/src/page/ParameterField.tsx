import React from 'react';

import { IParameter } from '../api';
import { limits } from './parameters';

export interface IParameterFieldProps {
  /** Id of the control; those of its help and error derive from it. */
  id: string;
  parameter: IParameter;
  text: string;
  /** The default at this scale if the text differs from it. */
  default: string | null;
  error: string | null;
  onEdit: (name: string, text: string) => void;
  onReset: (name: string) => void;
}

/** One parameter: its control, what it means, what it allows, and what is wrong. */
export const ParameterField = React.memo(function ParameterField(
  props: IParameterFieldProps
): JSX.Element {
  const { id, parameter, error, onReset } = props;
  const { name, help, unit } = parameter;
  const allowed = [unit, kind(parameter), limits(parameter)].filter(Boolean);
  const control = <Control {...props} />;
  const isCheckbox = parameter.type === 'bool';
  return (
    <div
      className="st-Field"
      data-changed={props.default !== null || undefined}
    >
      <label className="st-Field-label" htmlFor={id}>
        {isCheckbox && control} <code>{name}</code>
      </label>
      {!isCheckbox && control}
      {error !== null && (
        <div id={`${id}-error`} className="st-Field-error" role="alert">
          <code>{name}</code> {error}
        </div>
      )}
      <div id={`${id}-help`} className="st-Field-help">
        {help}
        {allowed.length > 0 && (
          <span className="st-Field-allowed"> ({allowed.join('; ')})</span>
        )}
      </div>
      {props.default !== null && (
        <div className="st-Field-changed">
          Changed; the default is <code>{props.default || 'empty'}</code>{' '}
          <button
            type="button"
            className="st-Link"
            aria-label={`Reset ${name}`}
            onClick={() => onReset(name)}
          >
            Reset
          </button>
        </div>
      )}
    </div>
  );
});

function Control({
  id,
  parameter,
  text,
  error,
  onEdit
}: IParameterFieldProps): JSX.Element {
  const { name, type, choices } = parameter;
  const common = {
    id,
    name,
    className: 'jp-mod-styled st-Field-control',
    'aria-invalid': error !== null,
    'aria-describedby': error === null ? `${id}-help` : `${id}-error ${id}-help`
  };
  if (type === 'bool') {
    return (
      <input
        {...common}
        type="checkbox"
        checked={text === 'true'}
        onChange={event => onEdit(name, String(event.target.checked))}
      />
    );
  }
  if (choices && !type.startsWith('list')) {
    return (
      <select
        {...common}
        value={text}
        onChange={event => onEdit(name, event.target.value)}
      >
        {choices.map(String).map(choice => (
          <option key={choice}>{choice}</option>
        ))}
      </select>
    );
  }
  return (
    <input
      {...common}
      type="text"
      inputMode={INPUT_MODES[type]}
      autoComplete="off"
      spellCheck={false}
      value={text}
      onChange={event => onEdit(name, event.target.value)}
    />
  );
}

// A keyboard for lists needs the comma, and so all keys.
const INPUT_MODES: Partial<Record<IParameter['type'], 'numeric' | 'decimal'>> =
  { int: 'numeric', float: 'decimal' };

const KINDS: Partial<Record<IParameter['type'], string>> = {
  int: 'whole number',
  float: 'number',
  'list[int]': 'whole numbers, separated by commas',
  'list[float]': 'numbers, separated by commas',
  'list[str]': 'words, separated by commas'
};

function kind({ type, choices }: IParameter): string | undefined {
  return choices && !type.startsWith('list') ? undefined : KINDS[type];
}
