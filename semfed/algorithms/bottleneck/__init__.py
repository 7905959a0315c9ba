"""The information bottleneck of cooperative multi-task SemCom: rates, priors, and units that pay for their rate."""
