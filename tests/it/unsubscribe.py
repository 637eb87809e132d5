"""Somebody follows the link of a promotional mail in a browser, unsubscribes, and takes it back.

Knows: the address; the path of the link; a folder for pictures. Asks the test what is on record in between.
"""

import pathlib

LOOKS = ((390, "light"), (390, "dark"), (1280, "light"))


def main(browser, known):
    pictures, faults = pathlib.Path(known["pictures"]), []
    for has_scripts in (True, False):
        reader = Person(browser, known["base"], java_script_enabled=has_scripts)
        page = reader.page
        page.goto(known["link"])
        expect(page.get_by_role("heading", name="Unsubscribe?")).to_be_visible()
        please("nothing is changed")
        for width, scheme in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 700})
            page.screenshot(path=pictures / f"unsubscribe.{width}.{scheme}.png")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Unsubscribe")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
        please("the address is suppressed")
        # Whoever reloads the page or comes back to the link is not asked again.
        page.goto(known["link"])
        expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
        page.get_by_role("button", name="Subscribe again").click()
        expect(page.get_by_role("heading", name="You are subscribed again")).to_be_visible()
        please("the address is free again")
        faults += reader.faults
    return {"faults": faults}


run(main)
