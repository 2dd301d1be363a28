"""The statuses of an image in Glance, by what they mean.

Source: Glance's documentation, "Image Statuses".
"""

from __future__ import annotations

#: Somebody sends the data to Glance, or Glance puts them into stores.
BUSY = ('saving', 'uploading', 'importing')
#: The data are not all there, and may come yet.
UNDER_WAY = ('queued', *BUSY)
#: The data are all there.
WITH_DATA = ('active', 'deactivated')
#: The image was deleted. Glance answers 404 instead to most callers.
GONE = ('deleted', 'pending_delete')
