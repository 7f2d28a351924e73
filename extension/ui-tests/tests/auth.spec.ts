import { ChildProcess, spawn } from 'child_process';
import * as path from 'path';

import { APIRequestContext, expect, Page, test } from '@playwright/test';

import { chooseScale, DPP, filledPanel, openPaper, start } from './panel';

/** A server as users have it: token and XSRF are on, which Galata's server has switched off. */
const PORT = 8889;
const BASE = `http://localhost:${PORT}`;
const TOKEN = 'a-token-of-the-test';
const HEADERS = { Authorization: `token ${TOKEN}` };
const CHECKOUT = path.resolve(__dirname, '../../..');
const MINUTE = 60_000;

let server: ChildProcess | undefined;

async function serve(request: APIRequestContext): Promise<void> {
  server = spawn(
    'jupyter',
    [
      'lab',
      '--no-browser',
      '--allow-root',
      `--port=${PORT}`,
      '--ServerApp.port_retries=0',
      `--IdentityProvider.token=${TOKEN}`,
      '--LabApp.extension_manager=readonly',
      '--LabApp.news_url=None'
    ],
    {
      cwd: CHECKOUT,
      stdio: 'ignore',
      env: { ...process.env, STEMMA_RUNS: `${CHECKOUT}/runs/ui-tests` }
    }
  );
  await expect(async () => {
    const answer = await request.get(`${BASE}/api`, { headers: HEADERS });
    expect(answer.ok()).toBe(true);
  }).toPass({ timeout: MINUTE });
}

async function stop(): Promise<void> {
  const ended = new Promise(resolve => server?.once('exit', resolve));
  server?.kill('SIGTERM');
  await ended;
  server = undefined;
}

async function openLab(page: Page): Promise<void> {
  await page.goto(`${BASE}/lab?token=${TOKEN}&reset`);
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  const tab = page.locator('.jp-SideBar [data-id="stemma-panel"]');
  // A click on the open panel's tab would close it.
  if ((await tab.getAttribute('aria-selected')) !== 'true') {
    await tab.click();
  }
}

test.describe.configure({ mode: 'serial' });
test.use({ viewport: { width: 1400, height: 900 } });
test.beforeAll(async ({ playwright }) =>
  serve(await playwright.request.newContext())
);
test.afterAll(stop);

test('answers nobody without a token', async ({ request }) => {
  for (const end of ['papers', 'runs', 'provenance', 'mlflow']) {
    expect((await request.get(`${BASE}/stemma/${end}`)).status()).toBe(403);
  }
  const wrong = { Authorization: 'token somebody-elses' };
  const refused = await request.get(`${BASE}/stemma/papers`, {
    headers: wrong
  });
  expect(refused.status()).toBe(403);
});

test('refuses a cookie without the XSRF header', async ({ page }) => {
  await openLab(page);
  await filledPanel(page);
  const status = await page.evaluate(async () => {
    const body = JSON.stringify({ slug: 'dpp-least-squares', scale: 'smoke' });
    return (await fetch('/stemma/runs', { method: 'POST', body })).status;
  });
  expect(status).toBe(403);
});

test('finds a run again after the server was restarted', async ({
  page,
  request
}) => {
  test.setTimeout(5 * MINUTE);
  await openLab(page);
  const paper = await openPaper(page, await filledPanel(page), DPP);
  await chooseScale(paper, 'smoke');
  const progress = await start(paper, 'Run again');
  await expect(progress.getByText(/^Cell \d+ of/)).toBeVisible({
    timeout: MINUTE
  });
  await stop();
  await serve(request);
  // The lab says that it lost the server, and goes on below the dialog.
  await expect(progress.getByRole('status')).toHaveText('succeeded', {
    timeout: 2 * MINUTE
  });
});
