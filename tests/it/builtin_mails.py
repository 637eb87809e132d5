"""Looks at every HTML file of a folder in one headless Chromium, over the DevTools protocol on a pipe.

Arguments: the folder of the pages, the folder for the pictures. Prints one JSON object: how many looks there were, and
which pages have something wider than the page.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

WIDTHS = (320, 600)
SCHEMES = ("light", "dark")

# What reaches beyond the right border; what is hidden takes no room.
TOO_WIDE = """(() => {
    const page = document.documentElement;
    const beyond = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && box.right > innerWidth + 1;
    });
    const names = beyond.slice(0, 3).map((element) => element.outerHTML.slice(0, 120));
    return { inner: innerWidth, scroll: page.scrollWidth, height: page.scrollHeight, names };
})()"""


class Browser:
    def __init__(self, profile):
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        options = [
            "--headless", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
            "--blink-settings=imagesEnabled=false", "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        script = f'exec chromium "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["sh", "-c", script, "chromium", *options],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.out, self.into, self.rest, self.last, self.session = ours_out, ours_in, b"", 0, None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.into, 1 << 20)
            if not more:
                sys.exit("the browser is gone")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

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
            is_over = is_over or message.get("method") == until
        return result

    def look(self, page, width, scheme, picture):
        """Shows the page so, keeps a picture, and returns what is wrong with it."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        seen = self.ask("Runtime.evaluate", expression=TOO_WIDE, returnByValue=True)["result"]["value"]
        area = {"x": 0, "y": 0, "width": width, "height": seen["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=area)
        picture.write_bytes(base64.b64decode(shot["data"]))
        if seen["inner"] != width or seen["scroll"] > width or seen["names"]:
            return [{"page": page.name, "width": width, "scheme": scheme, **seen}]
        return []


def main():
    pages, pictures = map(pathlib.Path, sys.argv[1:])
    looks, too_wide = 0, []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for page in sorted(pages.glob("*.html")):
                browser.ask("Page.navigate", until="Page.loadEventFired", url=page.as_uri())
                for width in WIDTHS:
                    for scheme in SCHEMES:
                        too_wide += browser.look(page, width, scheme, pictures / f"{page.stem}.{width}.{scheme}.png")
                        looks += 1
        finally:
            browser.process.kill()
            browser.process.wait()
    print(json.dumps({"looks": looks, "too_wide": too_wide}))


main()
