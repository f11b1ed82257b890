"""Recording a step, and keeping a plan for each shape of a batch."""
