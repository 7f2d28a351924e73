import { CommandRegistry } from '@lumino/commands';
import React, { useDeferredValue, useMemo, useState } from 'react';

import { IPaperRow, IRun, IScaleResult, Scale, SCALES, Verdict } from '../api';
import { RunState } from '../components/RunState';
import { useSignals } from '../components/useSignals';
import { VerdictBadge, VERDICTS } from '../components/VerdictBadge';
import { allTags, filterPapers, IPaperFilter, NO_FILTER } from '../filter';
import { isActive } from '../model';
import { CommandIDs, IStemma } from '../tokens';

export interface IPapersSectionProps {
  model: IStemma;
  commands: CommandRegistry;
}

/** The list of papers, searched and filtered. */
export function PapersSection({
  model,
  commands
}: IPapersSectionProps): JSX.Element {
  useSignals(model.papersChanged, model.runsChanged);
  const [filter, setFilter] = useState(NO_FILTER);
  const wanted = useDeferredValue(filter);
  const { papers } = model;
  const shown = useMemo(() => filterPapers(papers, wanted), [papers, wanted]);
  return (
    <div className="st-Section">
      <PaperFilters papers={papers} filter={filter} onChange={setFilter} />
      <Notice model={model} shown={shown.length} />
      <ul className="st-List" aria-label="Papers">
        {shown.map(paper => (
          <PaperItem
            key={paper.slug}
            paper={paper}
            run={model.latestRun(paper.slug)}
            onOpen={slug =>
              void commands.execute(CommandIDs.openPaper, { slug })
            }
          />
        ))}
      </ul>
    </div>
  );
}

interface INoticeProps {
  model: IStemma;
  shown: number;
}

function Notice({ model, shown }: INoticeProps): JSX.Element {
  if (model.problem) {
    return (
      <p className="st-Problem" role="alert">
        {model.problem}
      </p>
    );
  }
  const words = model.isReady
    ? `${shown} of ${model.papers.length} papers`
    : 'Reading the papers…';
  return (
    <p className="st-Count" role="status">
      {words}
    </p>
  );
}

interface IPaperFiltersProps {
  papers: readonly IPaperRow[];
  filter: IPaperFilter;
  onChange: (filter: IPaperFilter) => void;
}

function PaperFilters({
  papers,
  filter,
  onChange
}: IPaperFiltersProps): JSX.Element {
  const tags = useMemo(() => allTags(papers), [papers]);
  const set = (changes: Partial<IPaperFilter>) =>
    onChange({ ...filter, ...changes });
  return (
    <form
      className="st-Filters"
      role="search"
      onSubmit={event => event.preventDefault()}
    >
      <input
        type="search"
        className="st-Search jp-mod-styled"
        aria-label="Search papers"
        placeholder="Search papers"
        value={filter.text}
        onChange={event => set({ text: event.target.value })}
      />
      <Choice
        label="Tag"
        any="any tag"
        value={filter.tag}
        options={tags}
        onChange={tag => set({ tag })}
      />
      <Choice
        label="Scale"
        any="any scale"
        value={filter.scale}
        options={SCALES}
        onChange={scale => set({ scale: scale as Scale | '' })}
      />
      <Choice
        label="Verdict"
        any="any verdict"
        value={filter.verdict}
        options={VERDICTS}
        onChange={verdict => set({ verdict: verdict as Verdict | '' })}
      />
      <label className="st-Check">
        <input
          type="checkbox"
          checked={filter.ready}
          onChange={event => set({ ready: event.target.checked })}
        />
        ready to run
      </label>
    </form>
  );
}

interface IChoiceProps {
  label: string;
  any: string;
  value: string;
  options: readonly string[];
  onChange: (value: string) => void;
}

function Choice(props: IChoiceProps): JSX.Element {
  return (
    <select
      className="st-Select"
      aria-label={props.label}
      value={props.value}
      onChange={event => props.onChange(event.target.value)}
    >
      <option value="">{props.any}</option>
      {props.options.map(option => (
        <option key={option} value={option}>
          {option}
        </option>
      ))}
    </select>
  );
}

interface IPaperItemProps {
  paper: IPaperRow;
  run: IRun | undefined;
  onOpen: (slug: string) => void;
}

/** One paper; it is drawn anew only when it or its run changed. */
const PaperItem = React.memo(
  ({ paper, run, onOpen }: IPaperItemProps) => (
    <li className="st-Paper" data-status={paper.status}>
      <button
        className="st-Paper-open"
        title={paper.summary}
        onClick={() => onOpen(paper.slug)}
      >
        <span className="st-Paper-title">{paper.title}</span>
        <span className="st-Paper-facts">
          {paper.year}
          {paper.status === 'planned' && ' · planned'}
          {paper.results.map(result => (
            <ScaleBadge key={result.scale} result={result} />
          ))}
        </span>
        {run && isActive(run) && <RunState run={run} />}
      </button>
    </li>
  ),
  (before, after) => before.paper === after.paper && before.run === after.run
);
PaperItem.displayName = 'PaperItem';

/** A scale with the verdicts found there. */
function ScaleBadge({ result }: { result: IScaleResult }): JSX.Element {
  const found = VERDICTS.filter(verdict => result.verdicts[verdict]);
  return (
    <span className="st-Scale" title={`${result.scale}, ${result.origin}`}>
      {result.scale}
      {found.length === 0 && ' ✓'}
      {found.map(verdict => (
        <VerdictBadge
          key={verdict}
          verdict={verdict}
          count={result.verdicts[verdict]}
        />
      ))}
    </span>
  );
}
