"""One headless Chromium, spoken to over the DevTools protocol on a pipe. What stands below uses it."""

import base64
import faulthandler
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


class Browser:
    def __init__(self, profile, *more):
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        options = [
            "--headless", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", *more,
        ]
        script = f'exec chromium "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["sh", "-c", script, "chromium", *options],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.out, self.into, self.rest, self.last, self.session, self.events = ours_out, ours_in, b"", 0, None, []
        self.open_tab()

    def open_tab(self):
        """Opens another tab, which is the one that is spoken to from now on; returns its name."""
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")
        return self.session

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.into, 1 << 20)
            if not more:
                sys.exit("the browser is gone")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(message)
        if "method" in message:
            self.events.append(message)
        return message

    def ask(self, method, until=None, **parameters):
        """Calls a method; returns its result, once an event of the name `until` has come as well."""
        self.last += 1
        call = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            call["sessionId"] = self.session
        os.write(self.out, json.dumps(call).encode() + b"\0")
        result, is_over = None, until is None
        while result is None or not is_over:
            message = self.message()
            if message.get("id") == self.last:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                result = message["result"]
            is_own = message.get("sessionId") == self.session
            is_over = is_over or (is_own and message.get("method") == until)
        return result

    def end(self):
        self.process.kill()
        self.process.wait()

    def evaluate(self, expression):
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def picture(self, file, width, height):
        """Keeps a picture of the whole page."""
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=area)
        file.write_bytes(base64.b64decode(shot["data"]))
