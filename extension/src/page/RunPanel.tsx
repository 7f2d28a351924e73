import React, { useEffect, useId, useRef, useState } from 'react';

import { IPaper, IRun, IRunRequest } from '../api';
import { reason } from '../model';
import { duration } from '../time';
import { IStemma } from '../tokens';
import { IPageActions } from './actions';
import { focusFirstError, ParameterForm } from './ParameterForm';
import { RunProgress } from './RunProgress';
import { IParameterForm } from './useParameterForm';
import { useRuns } from './usePaper';

export interface IRunPanelProps {
  model: IStemma;
  paper: IPaper;
  form: IParameterForm;
  actions: IPageActions;
  isShown: boolean;
}

/** The form, the buttons that run the notebook, and how far it is. */
export function RunPanel({
  model,
  paper,
  form,
  actions,
  isShown
}: IRunPanelProps): JSX.Element {
  const id = useId();
  const runs = useRuns(model, paper.slug);
  const { submit, stop, problem, isPending } = useRequests(
    model,
    paper.slug,
    form,
    id
  );
  const refused = Object.keys(form.errors);
  const refusal = {
    isRefused: isPending || form.values === null,
    reason: refused.length > 0 ? `${id}-refused` : undefined
  };
  const start = (force: boolean) => () =>
    submit(async request => {
      await model.start(force ? { ...request, force } : request);
    });
  const open = () =>
    submit(async request =>
      actions.openNotebook(await model.api.draft(request), true)
    );
  return (
    <section className="st-RunPanel" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>Run</h2>
      <ParameterForm form={form} id={id} />
      <div className="st-Buttons">
        <Button
          text="Run"
          kind="jp-mod-accept"
          refusal={refusal}
          onPress={start(false)}
        />
        <Button
          text="Run again"
          kind="jp-mod-reject"
          title="Run even if there is a completed run of the same parameters"
          refusal={refusal}
          onPress={start(true)}
        />
        <Button
          text="Open notebook with these parameters"
          kind="jp-mod-reject"
          refusal={refusal}
          onPress={open}
        />
        <span className="st-Note">
          A run at {form.scale} ends after {duration(paper.timeout[form.scale])}{' '}
          at the latest.
        </span>
      </div>
      {runs.map(run => (
        <RunProgress
          key={run.id}
          run={run}
          isShown={isShown}
          onStop={stop}
          onLog={actions.openLog}
        />
      ))}
      {refused.length > 0 && (
        <p id={`${id}-refused`} className="st-Problem">
          Not accepted: {refused.join(', ')}.
        </p>
      )}
      <div role="alert">
        {problem && <p className="st-Problem">{problem}</p>}
      </div>
    </section>
  );
}

interface IButtonProps {
  text: string;
  kind: string;
  title?: string;
  /** A refused button stays focusable: pressing it leads to what is wrong. */
  refusal: {
    isRefused: boolean;
    /** Id of the text that says what is wrong. */
    reason: string | undefined;
  };
  onPress: () => void;
}

function Button({
  text,
  kind,
  title,
  refusal,
  onPress
}: IButtonProps): JSX.Element {
  return (
    <button
      type="button"
      className={`jp-mod-styled ${kind}`}
      title={title}
      aria-disabled={refusal.isRefused}
      aria-describedby={refusal.reason}
      onClick={onPress}
    >
      {text}
    </button>
  );
}

interface IRequests {
  /** Send what the form holds, once the form and then the server find nothing wrong with it. */
  submit(send: (request: IRunRequest) => Promise<void>): void;
  stop(run: IRun): void;
  problem: string;
  isPending: boolean;
}

/** What the panel asks of the server, one request at a time. */
function useRequests(
  model: IStemma,
  slug: string,
  form: IParameterForm,
  id: string
): IRequests {
  const [problem, setProblem] = useState('');
  const [isPending, setIsPending] = useState(false);
  const [refusals, setRefusals] = useState(0);
  const latest = useRef(form);
  latest.current = form;
  // Only after the errors are drawn is there a field to go to.
  useEffect(() => {
    if (refusals > 0) {
      focusFirstError(latest.current, id);
    }
  }, [refusals, id]);

  const attempt = async (work: () => Promise<void>) => {
    setIsPending(true);
    setProblem('');
    try {
      await work();
    } catch (error) {
      setProblem(reason(error));
    } finally {
      setIsPending(false);
    }
  };
  const refuse = () => setRefusals(count => count + 1);
  const submit: IRequests['submit'] = send => {
    if (isPending) {
      return;
    }
    const { scale, values: parameters } = form;
    if (parameters === null) {
      refuse();
      return;
    }
    void attempt(async () => {
      const request = { slug, scale, parameters };
      const { errors } = await model.api.check(request);
      if (Object.keys(errors).length === 0) {
        await send(request);
        return;
      }
      form.refuse(errors);
      setProblem(otherErrors(form, errors));
      refuse();
    });
  };
  return {
    submit,
    stop: run => void attempt(() => model.cancel(run)),
    problem,
    isPending
  };
}

/** What the server refuses that is no field of the form. */
function otherErrors(
  form: IParameterForm,
  errors: Record<string, string>
): string {
  const fields = new Set(form.parameters.map(({ name }) => name));
  return Object.entries(errors)
    .filter(([name]) => !fields.has(name))
    .map(([name, text]) => `${name}: ${text}`)
    .join('; ');
}
