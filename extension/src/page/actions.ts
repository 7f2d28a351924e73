import { IRun } from '../api';

/** What a page asks of the lab. */
export interface IPageActions {
  /** An executed notebook needs no kernel; one that is to be changed does. */
  openNotebook(path: string, kernel: boolean): void;
  /** The fragment is what follows the MLflow server's address. */
  openMlflow(fragment: string): void;
  openLog(run: IRun): void;
  openExternal(url: string): void;
}
