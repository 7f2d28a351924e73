"""Tables and pages that show results; reads the catalog and result files, never MLflow."""
