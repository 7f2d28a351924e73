import { render, screen, within } from '@testing-library/react';
import React from 'react';

import { ClaimsTable } from '../ClaimsTable';
import { bar, cell, claim } from './fakes';

function row(id: string): HTMLElement {
  return screen.getByRole('row', { name: new RegExp(`^${id} `) });
}

describe('ClaimsTable', () => {
  it('shows what was claimed and measured, drawn and in words', () => {
    const measured = claim({
      unit: 'nats',
      verdict: 'trend holds',
      reason: 'the interval lies above 0',
      cells: [cell({ bar: bar() })]
    });
    render(<ClaimsTable scale="small" claims={[measured]} untested={{}} />);
    const shown = row('C1');
    expect(shown.textContent).toContain('Order is remembered.');
    expect(shown.textContent).toContain('where: Table 2');
    expect(shown.textContent).toContain('rho = 0.1');
    expect(shown.textContent).toContain('nats');
    expect(shown.textContent).toContain('0.12 [0.1, 0.14]');
    expect(shown.textContent).toContain('the interval lies above 0');
    expect(within(shown).getByText('trend holds')).toBeTruthy();
    expect(within(shown).getByText('n = 5, t, 95 %')).toBeTruthy();
    const drawing = within(shown).getByRole('img', {
      name: 'estimate 0.12, interval [0.1, 0.14]; claimed above 0'
    });
    expect(drawing.getAttribute('viewBox')).toBe('0 0 240 16');
    expect(drawing.querySelector('circle')!.getAttribute('cx')).toBe('120');
    expect(drawing.querySelector('rect')!.getAttribute('width')).toBe('172');
    expect(drawing.querySelectorAll('path')).toHaveLength(2);
  });

  it('draws an open end as an arrow and no interval where there is none', () => {
    const cells = [
      cell({ cell: 'a', bar: bar({ open_high: true }) }),
      cell({ cell: 'b', bar: bar({ low: null, high: null, marks: [] }) })
    ];
    const { container } = render(
      <ClaimsTable scale="small" claims={[claim({ cells })]} untested={{}} />
    );
    const [open, none] = Array.from(container.querySelectorAll('svg'));
    const ends = Array.from(open.querySelectorAll('path'), path =>
      path.getAttribute('d')
    );
    expect(ends).toEqual(['M90 4 L90 12', 'M146 3 L150 8 L146 13']);
    expect(none.querySelectorAll('line, path')).toHaveLength(0);
  });

  it('folds many cells away, names each method once', () => {
    const cells = Array.from({ length: 9 }, (_, index) =>
      cell({
        cell: `seed ${index}`,
        how: index < 8 ? 'n = 5' : 'n = 4',
        verdict: index < 7 ? 'trend holds' : 'inconclusive'
      })
    );
    render(
      <ClaimsTable scale="small" claims={[claim({ cells })]} untested={{}} />
    );
    const summary = screen.getByText('9 cells: 7 trend holds, 2 inconclusive');
    expect(summary.closest('details')!.open).toBe(false);
    expect(screen.getAllByRole('listitem').map(i => i.textContent)).toEqual([
      expect.stringMatching(/^seed 0, .*seed 7: n = 5$/),
      'seed 8: n = 4'
    ]);
  });

  it('says why a claim has no verdict', () => {
    const claims = [claim(), claim({ id: 'C2' })];
    const untested = { C2: 'needs a 7B model' };
    const { rerender } = render(
      <ClaimsTable scale="gpu" claims={claims} untested={untested} />
    );
    expect(row('C1').textContent).toContain('not run yet at this scale');
    expect(row('C2').textContent).toContain(
      'cannot be tested at gpu: needs a 7B model'
    );
    rerender(<ClaimsTable scale="smoke" claims={claims} untested={{}} />);
    expect(row('C1').textContent).toContain('draws no conclusion');
  });

  it('shows HTML as text', () => {
    const html = '<img src=x onerror="alert(1)">';
    const bad = claim({
      statement: html,
      where: html,
      paper_value: html,
      verdict: 'inconclusive',
      reason: html,
      cells: [cell({ cell: html, text: html, how: html })]
    });
    const { container } = render(
      <ClaimsTable scale="small" claims={[bad]} untested={{}} />
    );
    expect(container.querySelector('img')).toBeNull();
    expect(container.textContent!.split(html)).toHaveLength(8);
  });
});
