"""Uploads the files of a plan with tuspy, a few at once. A client in earnest: it is told to try again, and it keeps the
address of an upload that was created."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from tusclient import client as tus
from tusclient.exceptions import TusCommunicationError

plan = json.load(open(sys.argv[1]))


def send(file):
    client = tus.TusClient(plan["endpoint"], headers={"Authorization": f"Bearer {plan['token']}"})
    metadata = {"filename": file["name"], "sha256": file["sha256"], "submission": plan["submission"]}
    url = None
    for attempt in range(200):
        try:
            uploader = client.uploader(
                file["path"], url=url, chunk_size=file["chunk"], metadata=metadata, retries=3, retry_delay=0.05
            )
            uploader.set_url(url or uploader.create_url())
            url = uploader.url
            uploader.offset = uploader.get_offset()
            uploader.upload()
            # The same for numbers: what counts is a whole answer that says all is there.
            if uploader.get_offset() == uploader.get_file_size():
                return attempt
        except (TypeError, ValueError):
            # Python takes an answer whose head was cut off for a whole one; tuspy then misses a header in it, or half of one.
            time.sleep(0.05)
        except (TusCommunicationError, requests.exceptions.RequestException) as error:
            status = getattr(error, "status_code", None)
            if status in (200, 404, 405):
                # No offset is there: what was kept of the address is a page (200), nothing (404) or where uploads are created
                # (405). It was cut off. Creating the upload again leads to the same one.
                url = None
                continue
            if status is not None and 400 <= status < 500 and status != 409:
                raise
            time.sleep(0.05)
    raise RuntimeError(f"{file['name']} did not get through")


with ThreadPoolExecutor(plan["parallel"]) as pool:
    attempts = list(pool.map(send, plan["files"]))
print(json.dumps({"client": "tuspy", "files": len(attempts), "again": sum(attempts)}))
