"""What several tests need: closed-form models and real data where it lies."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads that wait for each other cost more than they do
sys.path.insert(0, str(Path(__file__).parent))
