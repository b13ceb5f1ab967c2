"""How fast milepost is, each figure against a raw reference measured in the same run."""
