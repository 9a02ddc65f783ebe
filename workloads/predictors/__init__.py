"""Predictors: functions of a chip and a kernel to seconds, this package's own and anybody's."""
