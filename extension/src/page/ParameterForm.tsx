import React, { useId, useMemo } from 'react';

import { IParameter, Scale, SCALES } from '../api';
import { isSame, toText } from './parameters';
import { ParameterField } from './ParameterField';
import { IParameterForm } from './useParameterForm';

/** What each scale is for. */
export const SCALE_HELP: Record<Scale, string> = {
  smoke: 'proves the machinery within a minute, draws no conclusion',
  small: 'tests the effect within ten minutes on two cores',
  gpu: 'one GPU, within eight minutes',
  paper: "the paper's own models and data"
};

export interface IParameterFormProps {
  form: IParameterForm;
  /** Ids in the page begin with it. */
  id: string;
}

/** The scale presets and a field for each parameter. */
export function ParameterForm({ form, id }: IParameterFormProps): JSX.Element {
  const groups = useMemo(() => grouped(form.parameters), [form.parameters]);
  const changes = Object.keys(form.edited).length;
  const count = form.parameters.length;
  return (
    <>
      <ScaleChoice scale={form.scale} onChoose={form.setScale} />
      <details className="st-Parameters" open>
        <summary>
          Parameters ({count}
          {changes > 0 && `, ${changes} changed`})
        </summary>
        {changes > 0 && (
          <button type="button" className="st-Link" onClick={form.resetAll}>
            Reset all to the defaults of {form.scale}
          </button>
        )}
        {groups.map(({ legend, parameters }) => (
          <fieldset key={legend} className="st-Fields">
            <legend>{legend}</legend>
            {parameters.map(parameter => (
              <ParameterField
                key={parameter.name}
                id={fieldId(id, parameter.name)}
                parameter={parameter}
                text={form.texts[parameter.name]}
                default={
                  parameter.name in form.edited
                    ? toText(parameter.defaults[form.scale])
                    : null
                }
                error={form.errors[parameter.name] ?? null}
                onEdit={form.edit}
                onReset={form.reset}
              />
            ))}
          </fieldset>
        ))}
      </details>
    </>
  );
}

/** Put the cursor in the first field that is refused, wherever it is folded away. */
export function focusFirstError(form: IParameterForm, id: string): void {
  const refused = ({ name }: IParameter) => name in form.errors;
  const first = grouped(form.parameters)
    .map(group => group.parameters.find(refused))
    .find(found => found !== undefined);
  const control = first && document.getElementById(fieldId(id, first.name));
  const folded = control?.closest('details');
  if (folded) {
    folded.open = true;
  }
  control?.focus();
}

interface IScaleChoiceProps {
  scale: Scale;
  onChoose: (scale: Scale) => void;
}

function ScaleChoice({ scale, onChoose }: IScaleChoiceProps): JSX.Element {
  const name = useId();
  return (
    <fieldset className="st-Scales">
      <legend>Scale</legend>
      {SCALES.map(choice => (
        <label key={choice} className="st-Scales-choice">
          <input
            type="radio"
            name={name}
            value={choice}
            checked={choice === scale}
            onChange={() => onChoose(choice)}
            aria-describedby={`${name}-${choice}`}
          />
          <span className="st-Scales-name">{choice}</span>
          <span id={`${name}-${choice}`} className="st-Scales-help">
            {SCALE_HELP[choice]}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

interface IGroup {
  legend: string;
  parameters: IParameter[];
}

/** What a scale decides comes first, then what is the same at all scales. */
function grouped(parameters: readonly IParameter[]): IGroup[] {
  const isScaled = ({ defaults }: IParameter) =>
    SCALES.some(scale => !isSame(defaults[scale], defaults.small));
  return [
    { legend: 'Set by the scale', parameters: parameters.filter(isScaled) },
    {
      legend: 'The same at every scale',
      parameters: parameters.filter(parameter => !isScaled(parameter))
    }
  ].filter(group => group.parameters.length > 0);
}

function fieldId(id: string, name: string): string {
  return `${id}-${name}`;
}
