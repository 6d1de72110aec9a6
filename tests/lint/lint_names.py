"""No file says with its name that nobody knew what belongs into it."""

import os
import re

import source_tree as tree

FORBIDDEN = re.compile(r"(^|[_-])(util|utils|misc|common|helper|helpers|stuff)([_-]|$)", re.I)
tree.finish([path for path in tree.files() if FORBIDDEN.search(os.path.splitext(os.path.basename(path))[0])])
