import React, { useEffect, useRef, useState } from 'react';

import { IRun } from '../api';
import { useSignals } from '../components/useSignals';
import { RunState } from '../components/RunState';
import { isActive, reason } from '../model';
import { IStemma } from '../tokens';

/** How often the log of a run that goes on is read, at most. */
const INTERVAL = 1500;
/** How much of a long log is shown, characters. */
const MAX_SHOWN = 400_000;

export interface ILogViewProps {
  model: IStemma;
  id: string;
  label: string;
  /** Whether anybody can see it; a hidden log is not read. */
  isVisible: boolean;
}

/** What a run wrote to its log; it grows while the run goes on. */
export function LogView(props: ILogViewProps): JSX.Element {
  const { model, id, label, isVisible } = props;
  useSignals(model.runsChanged);
  const run = model.runs.find(known => known.id === id);
  const { text, problem } = useLog(model, id, isVisible, isOpen(run));
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => end.current?.scrollIntoView?.({ block: 'end' }), [text]);
  return (
    <div className="st-Log">
      {run && <RunState run={run} />}
      {run?.message && <p className="st-Problem">{run.message}</p>}
      {problem && (
        <p className="st-Problem" role="alert">
          {problem}
        </p>
      )}
      <pre tabIndex={0} role="log" aria-label={`Log of ${label}`}>
        {text || 'The log is empty.'}
        <div ref={end} />
      </pre>
    </div>
  );
}

function isOpen(run: IRun | undefined): boolean {
  return run !== undefined && isActive(run);
}

function useLog(
  model: IStemma,
  id: string,
  isVisible: boolean,
  isGoingOn: boolean
): { text: string; problem: string } {
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');
  const offset = useRef(0);
  useEffect(() => {
    if (!isVisible) {
      return;
    }
    let timer: number | undefined;
    let isStopped = false;
    const read = async () => {
      try {
        const part = await model.api.log(id, offset.current);
        if (isStopped) {
          return;
        }
        offset.current = part.offset;
        setText(before => (before + part.text).slice(-MAX_SHOWN));
        setProblem('');
      } catch (error) {
        setProblem(reason(error));
      }
      if (isGoingOn && !isStopped) {
        timer = window.setTimeout(() => void read(), INTERVAL);
      }
    };
    void read();
    return () => {
      isStopped = true;
      window.clearTimeout(timer);
    };
  }, [model, id, isVisible, isGoingOn]);
  return { text, problem };
}
