import React, { useId } from 'react';

export interface IFieldProps {
  label: string;
  help: string;
  value: string;
  error: string | undefined;
  isRequired?: boolean;
  placeholder?: string;
  options?: readonly string[];
  onEdit: (value: string) => void;
  onFocus?: () => void;
}

/** A field of text: its label, what it is for, and what is wrong with it. */
export function Field(props: IFieldProps): JSX.Element {
  const id = useId();
  const { error, options } = props;
  return (
    <div className="st-TestField">
      <label htmlFor={id}>{props.label}</label>
      <input
        id={id}
        className="jp-mod-styled"
        type="text"
        autoComplete="off"
        spellCheck={false}
        value={props.value}
        placeholder={props.placeholder}
        list={options && `${id}-options`}
        aria-required={props.isRequired}
        aria-invalid={error !== undefined}
        aria-describedby={`${id}-help${error ? ` ${id}-error` : ''}`}
        onChange={event => props.onEdit(event.target.value)}
        onFocus={props.onFocus}
      />
      {options && (
        <datalist id={`${id}-options`}>
          {options.map(option => (
            <option key={option} value={option} />
          ))}
        </datalist>
      )}
      {error && (
        <div id={`${id}-error`} className="st-TestField-error" role="alert">
          {error}
        </div>
      )}
      <div id={`${id}-help`} className="st-TestField-help">
        {props.help}
      </div>
    </div>
  );
}
