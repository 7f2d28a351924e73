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

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/**
 * Return the address at which a browser on `host` reaches a server that the lab started.
 *
 * It listens to its own machine alone. The browser has to call that machine by the same name as it
 * calls the lab: under another name MLflow would be a third party, whose storage is blocked.
 *
 * @throws Error if the browser is on another machine.
 */
export function ownAddress(url: string, host: string): string {
  if (!LOOPBACK.includes(host)) {
    throw new Error(
      "MLflow listens to Jupyter's machine only: run an MLflow server that this browser can reach" +
        ' and name it by StemmaLab.mlflow_url'
    );
  }
  const address = new URL(url);
  address.hostname = host;
  return address.origin;
}
