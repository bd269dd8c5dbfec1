"""The composition root: from what the user asked to a wired run, one file per thing that is wired.

Only here do the packages of the shell meet, and only here are concrete classes named. What costs
to import (the SDK, aiohttp, Rich) is imported by the functions that need it.
"""
