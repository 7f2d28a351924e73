import { LabIcon, refreshIcon, stopIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import React, { useState } from 'react';

import { IRun } from '../api';
import { RunState } from '../components/RunState';
import { useSignals } from '../components/useSignals';
import { isActive } from '../model';
import { moment } from '../time';
import { CommandIDs, IStemma } from '../tokens';

/** How many runs of the past are drawn before the user asks for more. */
const PAGE = 50;

export interface IRunsSectionProps {
  model: IStemma;
  commands: CommandRegistry;
}

/** What is going on, and what was. */
export function RunsSection({
  model,
  commands
}: IRunsSectionProps): JSX.Element {
  useSignals(model.runsChanged);
  const [limit, setLimit] = useState(PAGE);
  const past = model.runs.filter(run => !isActive(run));
  return (
    <div className="st-Section">
      {model.isReady && model.runs.length === 0 && (
        <p className="st-Count">No run yet: open a paper and press Run.</p>
      )}
      <RunList label="Active runs" runs={model.active} commands={commands} />
      <RunList
        label="Past runs"
        runs={past.slice(0, limit)}
        commands={commands}
      />
      {past.length > limit && (
        <button
          className="jp-mod-styled st-More"
          onClick={() => setLimit(limit + PAGE)}
        >
          Show {Math.min(PAGE, past.length - limit)} more
        </button>
      )}
    </div>
  );
}

interface IRunListProps {
  label: string;
  runs: readonly IRun[];
  commands: CommandRegistry;
}

function RunList({ label, runs, commands }: IRunListProps): JSX.Element | null {
  if (runs.length === 0) {
    return null;
  }
  return (
    <ul className="st-List" aria-label={label}>
      {runs.map(run => (
        <RunItem key={run.id} run={run} commands={commands} />
      ))}
    </ul>
  );
}

interface IRunItemProps {
  run: IRun;
  commands: CommandRegistry;
}

const RunItem = React.memo(({ run, commands }: IRunItemProps) => {
  const { id, slug } = run;
  const act = (command: string) => () => void commands.execute(command, { id });
  const canRetry = !isActive(run) && run.state !== 'succeeded';
  return (
    <li className="st-Run" data-state={run.state}>
      <button
        className="st-Run-open"
        title={run.message || `Open ${run.label}`}
        onClick={() => void commands.execute(CommandIDs.openPaper, { slug })}
      >
        <span className="st-Run-label">
          {run.label} <span className="st-Run-scale">{run.scale}</span>
        </span>
        <span className="st-Run-facts">
          {moment(run.created)} <RunState run={run} />
        </span>
      </button>
      <span className="st-Run-actions">
        {isActive(run) && (
          <IconButton
            icon={stopIcon}
            label={`Stop ${run.label}`}
            onClick={act(CommandIDs.cancel)}
          />
        )}
        {canRetry && (
          <IconButton
            icon={refreshIcon}
            label={`Retry ${run.label}`}
            onClick={act(CommandIDs.retry)}
          />
        )}
        <button
          className="st-Link"
          aria-label={`Log of ${run.label}`}
          onClick={act(CommandIDs.showLog)}
        >
          log
        </button>
      </span>
    </li>
  );
});
RunItem.displayName = 'RunItem';

interface IIconButtonProps {
  icon: LabIcon;
  label: string;
  onClick: () => void;
}

function IconButton({ icon, label, onClick }: IIconButtonProps): JSX.Element {
  return (
    <button
      className="st-IconButton"
      aria-label={label}
      title={label}
      onClick={onClick}
    >
      <icon.react tag="span" elementSize="normal" />
    </button>
  );
}
