export { IPageActions } from './actions';
export { PaperPageWidget } from './widget';
