"""People in Debian's Chromium, by Playwright, and what goes wrong before their eyes. What stands below uses it.

The one argument is a JSON object with what the test knows. A line on standard output asks the test for something, and
is answered on standard input; the last line is what was seen, as JSON.
"""

import faulthandler
import json
import re
import sys

from playwright.sync_api import Error, expect, sync_playwright

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
PATIENCE = 60_000  # milliseconds, on a machine that does much else

# Where it hangs is said, before the test is given up.
faulthandler.dump_traceback_later(900, exit=True)
expect.set_options(timeout=PATIENCE)


def please(what):
    """Lets the test do something, and waits until it is done."""
    print(what, flush=True)
    if not sys.stdin.readline():
        sys.exit("the test is gone")


class Person:
    """Somebody with cookies of their own."""

    def __init__(self, browser, base, **more):
        self.base, self.faults, self.is_strict = base, [], True
        self.context = browser.new_context(base_url=base, **more)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.open()

    def open(self):
        """Opens another tab."""
        page = self.context.new_page()
        page.on("console", lambda message: self.note(message.type == "error", message.text))
        page.on("pageerror", lambda error: self.note(True, str(error)))
        page.on("request", lambda request: self.look_at(request.url))
        page.on("dialog", self.answer)
        return page

    def note(self, is_fault, text):
        # Chromium reports each page that says 403 or 404 as an error; whoever expects them is not strict.
        if is_fault and self.is_strict:
            self.faults.append(text)

    def look_at(self, url):
        if not url.startswith((self.base + "/", "data:", "about:")):
            self.faults.append(f"a request to {url}")

    def answer(self, dialog):
        if dialog.type != "confirm":
            self.faults.append(f"a dialog: {dialog.type} {dialog.message}")
        dialog.accept()

    def sign_in(self, name, password, next="/mails"):
        self.page.goto(next)
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page).to_have_url(self.base + next)


def run(use):
    """Opens a browser, and prints what `use` saw with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        try:
            seen = use(browser, json.loads(sys.argv[1]))
        finally:
            browser.close()
    print(json.dumps(seen))
