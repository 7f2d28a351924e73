import { IRun } from '../api';

/** What a page asks of the lab. */
export interface IPageActions {
  openNotebook(path: string): void;
  /** The fragment is what follows the MLflow server's address. */
  openMlflow(fragment: string): void;
  openLog(run: IRun): void;
  openExternal(url: string): void;
}
