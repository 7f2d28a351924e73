import { expect, IJupyterLabPageFixture } from '@jupyterlab/galata';
import { Locator, Page } from '@playwright/test';

export const PANEL = 'stemma-panel';
export const DPP = 'Weighted least-squares approximation';

/** Every request below this path is Stemma's. */
export const OURS = /\/stemma\//;

/** Open the side bar and wait until the papers are there. */
export async function openPanel(
  page: IJupyterLabPageFixture
): Promise<Locator> {
  await page.sidebar.openTab(PANEL);
  return filledPanel(page);
}

export async function filledPanel(page: Page): Promise<Locator> {
  const panel = page.getByRole('region', { name: 'Stemma', exact: true });
  await expect(panel.getByText(/of 40 papers/)).toBeVisible();
  return panel;
}

/** Open a paper's page from the list. */
export async function openPaper(
  page: Page,
  panel: Locator,
  title: string
): Promise<Locator> {
  await panel.getByRole('button', { name: title }).click();
  const paper = page.locator('.st-PaperPage');
  await expect(paper.getByRole('heading', { level: 1 })).toContainText(title);
  return paper;
}

export async function chooseScale(
  paper: Locator,
  scale: string
): Promise<void> {
  await paper.getByRole('radio', { name: new RegExp(`^${scale}`) }).check();
}

/** Press a button of the form that starts a run, and return where its progress stands. */
export async function start(
  paper: Locator,
  button: 'Run' | 'Run again'
): Promise<Locator> {
  await paper.getByRole('button', { name: button, exact: true }).click();
  const progress = paper.getByRole('region', { name: /^Run at / });
  await expect(progress.first()).toBeVisible();
  return progress.first();
}

/** Save a screenshot for the documentation, if that is wanted. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.STEMMA_SCREENSHOTS;
  if (folder) {
    await page.screenshot({ path: `${folder}/lab-${name}.png` });
  }
}
