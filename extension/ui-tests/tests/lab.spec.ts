import { execFileSync } from 'child_process';
import * as path from 'path';

import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@jupyterlab/galata';

import {
  chooseScale,
  DPP,
  openPanel,
  openPaper,
  OURS,
  PANEL,
  picture,
  start
} from './panel';

const CHECKOUT = path.resolve(__dirname, '../../..');
const MINUTE = 60_000;

test.use({ viewport: { width: 1400, height: 900 } });

test('lists forty papers, searches and filters', async ({ page }) => {
  const panel = await openPanel(page);
  const papers = panel.getByRole('list', { name: 'Papers' });
  await expect(papers.getByRole('listitem')).toHaveCount(40);
  await picture(page, 'papers');

  await panel.getByLabel('Search papers').fill('determinantal');
  await expect(papers.getByRole('listitem')).toHaveCount(1);
  await panel.getByLabel('Search papers').fill('');
  await panel.getByLabel('ready to run').check();
  const ready = await papers.getByRole('listitem').count();
  expect(ready).toBeGreaterThan(2);
  expect(ready).toBeLessThan(40);
  await panel.getByLabel('Verdict').selectOption('contradicted');
  await expect(papers.getByText(DPP)).toBeVisible();
});

test('refuses an invalid parameter with the reason', async ({ page }) => {
  const paper = await openPaper(page, await openPanel(page), DPP);
  await chooseScale(paper, 'smoke');
  const seeds = paper.getByLabel('seeds', { exact: true });
  await seeds.fill('0');
  await expect(seeds).toHaveAttribute('aria-invalid', 'true');
  await expect(paper.getByText('must be at least 2, got 0')).toBeVisible();

  const asked: string[] = [];
  page.on('request', request => asked.push(request.method() + request.url()));
  // A refused button can still be pressed, which Playwright would not believe.
  await paper
    .getByRole('button', { name: 'Run', exact: true })
    .click({ force: true });
  await expect(seeds).toBeFocused();
  expect(asked.filter(url => OURS.test(url))).toEqual([]);
});

test('runs a paper from the form to the verdicts', async ({ page }) => {
  test.setTimeout(5 * MINUTE);
  const panel = await openPanel(page);
  const paper = await openPaper(page, panel, DPP);
  await chooseScale(paper, 'smoke');
  // Other tests may have left a completed run of the same key.
  const progress = await start(paper, 'Run again');

  const cell = progress.getByText(/^Cell \d+ of \d+/);
  await expect(cell).toBeVisible({ timeout: MINUTE });
  const first = await cell.textContent();
  await expect(cell).not.toHaveText(first!, { timeout: MINUTE });
  await expect(page.getByText('Stemma: 1 running')).toBeVisible();
  await picture(page, 'running');

  await expect(progress.getByRole('status')).toHaveText('succeeded', {
    timeout: 2 * MINUTE
  });
  await expect(page.getByText('Stemma: 1 running')).toBeHidden();
  const claims = paper.getByRole('table', { name: /Claims at scale smoke/ });
  const verdicts = claims.locator('.st-Verdict');
  await expect(verdicts).toHaveCount(12);
  await expect(verdicts.first()).toHaveText('not tested');
  await expect(paper.getByText('Machinery passed.')).toBeVisible();
  // Pictures are fetched when they come into sight.
  const figure = paper.locator('.st-Figure').first();
  await figure.scrollIntoViewIfNeeded();
  await expect(figure.locator('img')).toBeVisible();

  const run = panel.getByRole('list', { name: 'Past runs' });
  await expect(run.getByText(/succeeded/).first()).toBeVisible();
});

test('shows what was measured, with intervals and figures', async ({
  page
}) => {
  const paper = await openPaper(page, await openPanel(page), DPP);
  await paper
    .getByRole('group', { name: 'Results at scale' })
    .getByRole('button', { name: /^small/ })
    .click();
  const claims = paper.getByRole('table', { name: /Claims at scale small/ });
  await expect(claims.getByText('contradicted')).not.toHaveCount(0);
  // Many cells are folded until they are asked for.
  await claims
    .getByText(/^\d+ cells/)
    .first()
    .click();
  await expect(claims.locator('.st-Bar:visible').first()).toBeVisible();
  await claims.scrollIntoViewIfNeeded();
  await picture(page, 'claims');
});

test('opens the executed notebook without a kernel', async ({ page }) => {
  const paper = await openPaper(page, await openPanel(page), DPP);
  await paper
    .getByRole('group', { name: 'Results at scale' })
    .getByRole('button', { name: /^smoke/ })
    .click();
  await paper.getByRole('button', { name: 'Open executed notebook' }).click();
  const notebook = page.locator('.jp-NotebookPanel:visible');
  await expect(notebook).toBeVisible();
  await expect(notebook.getByText('No Kernel')).toBeVisible();
});

test('opens a draft with the parameters injected', async ({ page }) => {
  const paper = await openPaper(page, await openPanel(page), DPP);
  await chooseScale(paper, 'smoke');
  await paper.getByLabel('seed', { exact: true }).fill('77');
  await paper
    .getByRole('button', { name: 'Open notebook with these parameters' })
    .click();
  const notebook = page.locator('.jp-NotebookPanel:visible');
  await expect(notebook.getByText('seed = 77')).toBeVisible();
});

test('leads to the run in MLflow', async ({ page }) => {
  test.setTimeout(4 * MINUTE);
  const paper = await openPaper(page, await openPanel(page), DPP);
  await paper
    .getByRole('group', { name: 'Results at scale' })
    .getByRole('button', { name: /^smoke/ })
    .click();
  await paper.getByRole('button', { name: 'Open in MLflow' }).click();
  const frame = page.frameLocator('#stemma-mlflow iframe');
  // The description of the very run.
  await expect(frame.getByText('Claims: 12 not tested')).toBeVisible({
    timeout: 3 * MINUTE
  });
  await picture(page, 'mlflow');
});

test('finds a run again after a reload, and stops it', async ({ page }) => {
  test.setTimeout(4 * MINUTE);
  let panel = await openPanel(page);
  const paper = await openPaper(page, panel, DPP);
  await chooseScale(paper, 'smoke');
  const progress = await start(paper, 'Run again');
  await expect(progress.getByText(/^Cell \d+ of/)).toBeVisible({
    timeout: MINUTE
  });

  // The layout is saved with a delay; a reload before it would test nothing.
  await page.waitForTimeout(2000);
  await page.reload({ waitForIsReady: false });
  panel = page.getByRole('region', { name: 'Stemma', exact: true });
  const active = panel.getByRole('list', { name: 'Active runs' });
  await expect(active.getByRole('listitem')).toHaveCount(1, {
    timeout: MINUTE
  });
  const restored = page.locator('.st-PaperPage');
  await expect(restored.getByText(/^Cell \d+ of/)).toBeVisible();

  await active.getByRole('button', { name: /^Stop / }).click();
  const past = panel.getByRole('list', { name: 'Past runs' });
  await expect(past.getByText(/^cancelled/)).toBeVisible({ timeout: MINUTE });
  await expect(active).toBeHidden();
});

test('asks for nothing while it is idle', async ({ page }) => {
  test.setTimeout(3 * MINUTE);
  await openPanel(page);
  await page.waitForTimeout(1000);
  const asked: string[] = [];
  page.on('request', request => asked.push(request.url()));
  await page.waitForTimeout(MINUTE);
  expect(asked.filter(url => OURS.test(url))).toEqual([]);
});

test('tests a model and shows the p-value', async ({ page }) => {
  test.setTimeout(5 * MINUTE);
  const folder = 'runs/ui-tests/tiny';
  execFileSync('python', ['tests/tiny_descent.py', folder], { cwd: CHECKOUT });

  const panel = await openPanel(page);
  for (const section of ['Papers', 'Runs']) {
    await panel
      .locator('.lm-AccordionPanel-title', { hasText: section })
      .click();
  }
  const form = panel.getByRole('form', { name: 'Test of descent' });
  await form.getByLabel('Transcript').fill(`${folder}/transcript`);
  await form.getByLabel('Suspect').fill(`${folder}/suspect`);
  await form.getByLabel(/^Reference/).fill(`${folder}/reference`);
  await form.getByRole('button', { name: 'Start' }).click();
  const chosen = panel.getByRole('region', { name: 'Chosen test' });
  await expect(chosen.getByText(/p = \d/).first()).toBeVisible({
    timeout: 3 * MINUTE
  });
  await expect(chosen.getByText(/evidence/i).first()).toBeVisible();
  await chosen.scrollIntoViewIfNeeded();
  await picture(page, 'provenance');
});

for (const theme of [
  'JupyterLab Light',
  'JupyterLab Dark',
  'JupyterLab Dark High Contrast'
]) {
  test(`has no serious flaw for screen readers in ${theme}`, async ({
    page
  }) => {
    await page.theme.setTheme(theme);
    const paper = await openPaper(page, await openPanel(page), DPP);
    await paper
      .getByText(/^\d+ cells/)
      .first()
      .click();
    await expect(paper.locator('.st-Bar:visible').first()).toBeVisible();
    await picture(
      page,
      theme.replace('JupyterLab ', '').replace(/ /g, '-').toLowerCase()
    );
    const found = await new AxeBuilder({ page })
      .include(`#${PANEL}`)
      .include('.st-PaperPage')
      // The lab's own buttons are not ours to mend.
      .exclude('.jp-Toolbar')
      .analyze();
    const serious = found.violations.filter(({ impact }) =>
      ['serious', 'critical'].includes(impact ?? '')
    );
    expect(serious.map(({ id, nodes }) => [id, nodes[0].html])).toEqual([]);
  });
}
