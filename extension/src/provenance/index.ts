export { IProvenancePanelProps, ProvenancePanel } from './ProvenancePanel';
