import React, { useState } from 'react';

import { IProvenanceRequest } from '../api';
import { reason } from '../model';
import { check, EMPTY, FieldErrors, IFields, toRequest } from './form';
import { TestFields } from './TestFields';

export interface ITestFormProps {
  initial?: IFields;
  transcripts: () => Promise<string[]>;
  start: (request: IProvenanceRequest) => Promise<unknown>;
}

/** What to test: nothing is started while something is wrong. */
export function TestForm(props: ITestFormProps): JSX.Element {
  const [fields, setFields] = useState(props.initial ?? EMPTY);
  const [isChecked, setIsChecked] = useState(false);
  const [isStarting, setIsStarting] = useState(false);
  const [problem, setProblem] = useState('');
  const errors: FieldErrors = isChecked ? check(fields) : {};

  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    setIsChecked(true);
    if (Object.keys(check(fields)).length > 0) {
      return;
    }
    setIsStarting(true);
    setProblem('');
    try {
      await props.start(toRequest(fields));
    } catch (error) {
      setProblem(reason(error));
    }
    setIsStarting(false);
  };

  return (
    <form
      className="st-TestForm"
      aria-label="Test of descent"
      noValidate
      onSubmit={event => void submit(event)}
    >
      <TestFields
        fields={fields}
        errors={errors}
        transcripts={props.transcripts}
        onEdit={change => setFields({ ...fields, ...change })}
      />
      {problem && (
        <div className="st-Problem" role="alert">
          {problem}
        </div>
      )}
      <button
        type="submit"
        className="jp-mod-styled jp-mod-accept"
        disabled={isStarting}
      >
        {isStarting ? 'Starting …' : 'Start'}
      </button>
    </form>
  );
}
