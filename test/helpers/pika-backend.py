"""A backend: sends every line back, and says as JSON what each was like.

usage: pika-backend.py AMQP-URL FROM-DEVICE [TO-DEVICE]

Replies go to the reply_to of the line, or to the queue TO-DEVICE.
"""

import json
import sys

import pika

url, from_device, *to_device = sys.argv[1:]


def say(**fields):
    print(json.dumps(fields), flush=True)


def on_line(channel, method, properties, body):
    headers = properties.headers
    say(
        body=body.hex(),
        headers=headers,
        types={name: type(value).__name__ for name, value in headers.items()},
        delivery_mode=properties.delivery_mode,
        reply_to=properties.reply_to,
        timestamp=properties.timestamp,
    )
    channel.basic_publish(
        exchange="",
        routing_key=to_device[0] if to_device else properties.reply_to,
        body=body,
        properties=pika.BasicProperties(
            delivery_mode=2,
            headers={
                "connection_id": headers["connection_id"],
                "to_device_seq": headers["from_device_seq"],
            },
        ),
        mandatory=True,
    )
    channel.basic_ack(method.delivery_tag)


connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_qos(prefetch_count=100)
channel.basic_consume(from_device, on_line)
channel.start_consuming()
