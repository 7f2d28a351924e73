import { LabIcon } from '@jupyterlab/ui-components';

/** A family tree of manuscripts: one ancestor, two copies, one copy of a copy. */
export const stemmaIcon = new LabIcon({
  name: 'stemma_lab:stemma',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M11.25 7h1.5v3.2l4.6 3.4-.9 1.2-4.45-3.3-4.45 3.3-.9-1.2 4.6-3.4zM5.25 17h1.5v2.5h-1.5z"/>
    <circle cx="12" cy="4.5" r="3"/>
    <circle cx="6" cy="15.5" r="2.6"/>
    <circle cx="18" cy="15.5" r="2.6"/>
    <circle cx="6" cy="21" r="2"/>
  </g>
</svg>`
});

/** The tree, a chart for MLflow and a page for logs are all that is ours; the rest is the lab's. */
export const mlflowIcon = new LabIcon({
  name: 'stemma_lab:mlflow',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M4 20V4h2v14h14v2zm4-4v-5h2.5v5zm4.25 0V6h2.5v10zm4.25 0V9H19v7z"/>
</svg>`
});
