"""The border to Flower: the only place that knows messages."""

from semfed.flower.tested import require_tested

require_tested()  # here, since another Flower may lack what the modules of this package import
