import React from 'react';

import { ICell, IClaim, Scale } from '../api';
import { VerdictBadge, VERDICTS } from '../components/VerdictBadge';
import { IntervalBar } from './IntervalBar';

/** From this many cells on they are folded away. */
const MANY_CELLS = 7;

export interface IClaimsTableProps {
  scale: Scale;
  claims: readonly IClaim[];
  /** Why this scale cannot test a claim, by the claim's id. */
  untested: Record<string, string>;
}

/** What the paper says, what was measured here, and the verdict. */
export function ClaimsTable({
  scale,
  claims,
  untested
}: IClaimsTableProps): JSX.Element {
  const isDrawn = claims.some(({ cells }) => cells.some(({ bar }) => bar));
  return (
    <div className="st-Claims">
      {/* The roles keep it a table for screen readers where the style makes cards of the rows. */}
      <table className="st-ClaimsTable" role="table">
        <caption className="st-Hidden">
          Claims at scale {scale}: what the paper says, what was measured, the
          verdict
        </caption>
        <thead role="rowgroup">
          <tr role="row">
            {['Claim', 'Paper', 'Measured here', 'Verdict'].map(name => (
              <th key={name} role="columnheader" scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {claims.map(claim => (
            <ClaimRow
              key={claim.id}
              claim={claim}
              scale={scale}
              untested={untested[claim.id]}
            />
          ))}
        </tbody>
      </table>
      {isDrawn && (
        <p className="st-Claims-legend">
          Dot: estimate. Line: confidence interval (the range, where each value
          must hold), an arrow where it has no end. Dashed: the null or
          threshold. Tinted: where the claim would be true. The bars of one
          claim share one axis.
        </p>
      )}
    </div>
  );
}

interface IClaimRowProps {
  claim: IClaim;
  scale: Scale;
  untested: string | undefined;
}

function ClaimRow({ claim, scale, untested }: IClaimRowProps): JSX.Element {
  return (
    <tr role="row">
      <th role="rowheader" scope="row">
        <span className="st-ClaimsTable-id">{claim.id}</span> {claim.statement}
        <span className="st-Note">where: {claim.where}</span>
      </th>
      <td role="cell">
        <Label text="Paper" />
        {claim.paper_value}
      </td>
      <td role="cell">
        <Label text="Measured here" />
        <Measured claim={claim} />
      </td>
      <td role="cell">
        <Label text="Verdict" />
        {claim.verdict ? (
          <>
            <VerdictBadge verdict={claim.verdict} />
            <span className="st-Note">{claim.reason}</span>
          </>
        ) : (
          <span className="st-Note">{whyNone(scale, untested)}</span>
        )}
      </td>
    </tr>
  );
}

/** Why a claim has no verdict at a scale. */
function whyNone(scale: Scale, untested: string | undefined): string {
  if (untested) {
    return `cannot be tested at ${scale}: ${untested}`;
  }
  return scale === 'smoke'
    ? 'smoke proves the machinery and draws no conclusion'
    : 'not run yet at this scale';
}

/** The column's name, shown where the rows are cards and the head of the table is not. */
function Label({ text }: { text: string }): JSX.Element {
  return (
    <span className="st-ClaimsTable-label" aria-hidden="true">
      {text}
    </span>
  );
}

function Measured({ claim }: { claim: IClaim }): JSX.Element {
  const { cells, unit, statistic } = claim;
  if (cells.length === 0) {
    return <span className="st-Note">nothing</span>;
  }
  const lines = cells.map((cell, index) => (
    <CellLine key={`${index} ${cell.cell}`} cell={cell} />
  ));
  return (
    <>
      {hasUnit(unit) && <span className="st-Note">{unit}</span>}
      {cells.length < MANY_CELLS ? (
        lines
      ) : (
        <details>
          <summary>
            {cells.length} cells: {tally(cells)}
          </summary>
          {lines}
        </details>
      )}
      <details className="st-Method">
        <summary>Method</summary>
        <p>{statistic}</p>
        <ul>
          {methods(cells).map(({ how, names }) => (
            <li key={how}>
              {names.length > 0 && `${names.join(', ')}: `}
              {how}
            </li>
          ))}
        </ul>
      </details>
    </>
  );
}

function CellLine({ cell }: { cell: ICell }): JSX.Element {
  return (
    <div className="st-Cell">
      {cell.cell && <span className="st-Cell-name">{cell.cell}</span>}
      {cell.bar && <IntervalBar bar={cell.bar} verdict={cell.verdict} />}
      <span className="st-Cell-text">{cell.text}</span>
    </div>
  );
}

interface IMethod {
  how: string;
  names: string[];
}

/** The methods, each with the cells that it served; one method of all cells needs no names. */
function methods(cells: readonly ICell[]): IMethod[] {
  const found = new Map<string, string[]>();
  for (const { how, cell } of cells) {
    found.set(how, [...(found.get(how) ?? []), ...(cell ? [cell] : [])]);
  }
  return Array.from(found, ([how, names]) => ({
    how,
    names: found.size > 1 ? names : []
  }));
}

/** How many cells have each verdict, in words. */
function tally(cells: readonly ICell[]): string {
  return VERDICTS.map(verdict => ({
    verdict,
    count: cells.filter(cell => cell.verdict === verdict).length
  }))
    .filter(({ count }) => count > 0)
    .map(({ verdict, count }) => `${count} ${verdict}`)
    .join(', ');
}

function hasUnit(unit: string): boolean {
  return !['', '-', 'none'].includes(unit);
}
