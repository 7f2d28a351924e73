import React, { useState } from 'react';

import { ProvenanceTest } from '../api';
import { Field } from './Field';
import { FieldErrors, IFields } from './form';

export interface ITestFieldsProps {
  fields: IFields;
  errors: FieldErrors;
  transcripts: () => Promise<string[]>;
  onEdit: (change: Partial<IFields>) => void;
}

/** The fields of a test; those that its kind does not know are left out. */
export function TestFields({
  fields,
  errors,
  transcripts,
  onEdit
}: ITestFieldsProps): JSX.Element {
  const [options, setOptions] = useState<readonly string[]>();
  const isQuery = fields.test === 'query';
  const text = (name: Exclude<keyof IFields, 'test'>) => ({
    value: fields[name],
    error: errors[name],
    onEdit: (value: string) => onEdit({ [name]: value })
  });
  // Read when the field is first used: an idle panel asks for nothing.
  const offer = () => {
    if (options === undefined) {
      setOptions([]);
      transcripts().then(setOptions, () => setOptions(undefined));
    }
  };
  return (
    <>
      <Kind test={fields.test} onChoose={test => onEdit({ test })} />
      <Field
        {...text('transcript')}
        label="Transcript"
        help="Folder with the order of the training data, below the runs or the notebooks."
        isRequired
        options={options ?? []}
        onFocus={offer}
      />
      <Field
        {...text('suspect')}
        label={isQuery ? 'Suspect' : 'Text'}
        help={
          isQuery
            ? 'The model to test: folder, hub id (owner/name) or address (https://…/v1).'
            : 'File with what the suspect wrote: .txt, .jsonl or .parquet.'
        }
        isRequired
      />
      {isQuery && (
        <Field
          {...text('reference')}
          label="Reference (strongly recommended)"
          help="A model that has not seen this order. Its scores are subtracted, so that how hard each example is drops out; without one the test stays valid, but needs many more examples. One that has seen the order makes an innocent suspect look guilty."
        />
      )}
      {isQuery && <Effort text={text} />}
      <Details isQuery={isQuery} errors={errors} text={text} />
    </>
  );
}

type TextProps = (name: Exclude<keyof IFields, 'test'>) => {
  value: string;
  error: string | undefined;
  onEdit: (value: string) => void;
};

function Effort({ text }: { text: TextProps }): JSX.Element {
  return (
    <>
      <Field
        {...text('budget')}
        label="Budget"
        help="The most examples to ask."
        placeholder="all"
      />
      <Field
        {...text('stop')}
        label="Stop at p"
        help="Asks one by one and ends as soon as the anytime-valid p-value is this small; the curve may be watched. Empty: asks the whole budget; then only the last p-value counts."
        placeholder="ask the whole budget"
      />
    </>
  );
}

interface IDetailsProps {
  isQuery: boolean;
  errors: FieldErrors;
  text: TextProps;
}

function Details({ isQuery, errors, text }: IDetailsProps): JSX.Element {
  const [isOpen, setIsOpen] = useState(false);
  const isWrong = Boolean(errors.tokenizer || errors.model_name || errors.seed);
  return (
    <details
      open={isOpen || isWrong}
      onToggle={event => setIsOpen(event.currentTarget.open)}
    >
      <summary>More</summary>
      <Field
        {...text('tokenizer')}
        label="Tokenizer"
        help={
          isQuery
            ? 'Of the transcript: folder, hub id or tokenizer.json. An end point needs it.'
            : 'Of the transcript: folder, hub id or tokenizer.json. Plain text needs it.'
        }
      />
      {isQuery && (
        <Field
          {...text('model_name')}
          label="Model name"
          help="By which an end point knows its model."
        />
      )}
      <Field
        {...text('seed')}
        label="Seed"
        help="Of draw and permutations; fix it before you look at any result."
      />
    </details>
  );
}

interface IKindProps {
  test: ProvenanceTest;
  onChoose: (test: ProvenanceTest) => void;
}

function Kind({ test, onChoose }: IKindProps): JSX.Element {
  return (
    <fieldset className="st-TestKind">
      <legend>Test</legend>
      {KINDS.map(([kind, label, help]) => (
        <label key={kind}>
          <input
            type="radio"
            name="st-test-kind"
            checked={kind === test}
            onChange={() => onChoose(kind)}
          />
          {label}
          <span className="st-TestField-help">{help}</span>
        </label>
      ))}
    </fieldset>
  );
}

const KINDS: readonly [ProvenanceTest, string, string][] = [
  ['query', 'Ask a model', 'needs its likelihoods of the examples'],
  ['partition', 'Only a text', 'compares its n-grams with the examples']
];
