import { IMlflow, IStemmaApi } from '../api';

/** How long a server may take to answer for the first time. */
const PATIENCE = 120_000;
const INTERVAL = 1500;

/**
 * Return the MLflow server that answers, started if need be.
 *
 * @throws Error with the reason if there is none in the end.
 */
export async function server(
  api: Pick<IStemmaApi, 'mlflow'>,
  sleep: (ms: number) => Promise<void> = pause
): Promise<IMlflow & { url: string }> {
  let found: IMlflow = await api.mlflow(true);
  for (let waited = 0; found.url === null; waited += INTERVAL) {
    if (waited >= PATIENCE) {
      throw new Error(`MLflow does not answer: ${found.message}`);
    }
    await sleep(INTERVAL);
    found = await api.mlflow(false);
  }
  return { ...found, url: found.url };
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => window.setTimeout(resolve, ms));
}
